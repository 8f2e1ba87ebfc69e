//! Java's `.properties` format, as `java.util.Properties.load` documents it.

/// Line (from 1), name and value.
pub(super) type Property = (usize, String, String);

/// All properties in order. An error has its line and what is wrong.
pub(super) fn parse(text: &str) -> Result<Vec<Property>, (usize, String)> {
    let mut out = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let mut logical = line.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        // A line that ends in an odd number of backslashes goes on in the next.
        while logical.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1 {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let (name, value) = split(&logical);
        let unescaped = |text: &str| unescaped(text).map_err(|cause| (at + 1, cause));
        out.push((at + 1, unescaped(name)?, unescaped(value)?.trim_end().to_owned()));
    }
    Ok(out)
}

/// Name and value: apart at the first `=`, `:` or white space that no backslash stands before.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        if !escaped && (matches!(c, '=' | ':') || c.is_ascii_whitespace()) {
            let rest = line[at..].trim_start();
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], rest.trim_start());
        }
        escaped = c == '\\' && !escaped;
    }
    (line, "")
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut units = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = if c == '\\' {
            match chars.next() {
                None => break,
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                    units.push(unit.ok_or_else(|| format!("`\\u{digits}` is not \\u and four hexadecimal digits"))?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some(other) => other,
            }
        } else {
            c
        };
        flush(&mut units, &mut out)?;
        out.push(plain);
    }
    flush(&mut units, &mut out)?;
    Ok(out)
}

/// Characters beyond 16 bits come as two `\u` in a row.
fn flush(units: &mut Vec<u16>, out: &mut String) -> Result<(), String> {
    if !units.is_empty() {
        out.push_str(&String::from_utf16(units).map_err(|_| "half of a surrogate pair".to_owned())?);
        units.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_java_reads_them() {
        let check = |text: &str, expected: &[(usize, &str, &str)]| {
            let read = parse(text).expect("good");
            let read: Vec<_> = read.iter().map(|(line, name, value)| (*line, name.as_str(), value.as_str())).collect();
            assert_eq!(read, expected, "{text:?}");
        };
        check("", &[]);
        check("# no\n! no\n\n  a=1\r\n b : 2\nc 3\nd\n", &[(4, "a", "1"), (5, "b", "2"), (6, "c", "3"), (7, "d", "")]);
        check("a = b = c", &[(1, "a", "b = c")]);
        check("a=1,\\\n   2,\\\n   3\nb=4", &[(1, "a", "1,2,3"), (4, "b", "4")]);
        check("a=ends in \\\\\nb=2", &[(1, "a", "ends in \\"), (2, "b", "2")]);
        check(r"a\ b\=c=\tx\u00e9\ud83d\ude00", &[(1, "a b=c", "\txé😀")]);
        check("last=\\", &[(1, "last", "")]);
        check("# a comment \\\nb=2", &[(2, "b", "2")]);
    }

    #[test]
    fn what_java_refuses_too() {
        assert_eq!(parse("a=1\nb=\\u00g0").map_err(|(line, _)| line), Err(2));
        assert_eq!(parse("b=\\u12").map_err(|(line, _)| line), Err(1));
        assert_eq!(parse("b=\\ud83d").map_err(|(line, _)| line), Err(1));
    }
}
