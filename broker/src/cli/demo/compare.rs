//! One event as it was sent, as it is stored and as the view shows it, side by side. Text in, text out.
//!
//! The cells are what the three clients had in hand, not what should be there.

use serde_json::Value;

use super::tally::{End, Story};

/// What cells and words are painted with, where there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint(Option<&'static str>);

impl Paint {
    const PLAIN: Self = Self(None);
    const BOLD: Self = Self(Some("1"));
    const DIM: Self = Self(Some("2"));
    const RED: Self = Self(Some("31"));
    const GREEN: Self = Self(Some("32"));
    const YELLOW: Self = Self(Some("33"));

    fn over(self, text: &str, colours: bool) -> String {
        match self.0 {
            Some(code) if colours => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

/// The members of `properties` that are shown: what gate and view look at.
const FIELDS: [&str; 5] = ["type", "mag", "ids", "url", "detail"];

/// The member that the view decides by.
const DECIDES: &str = "mag";

/// Widths of the columns; a line fits 80 characters.
const LABEL: usize = 8;
const CELL: usize = 22;

/// A cell: its text and its paint.
type Cell = (String, Paint);

/// The event's table.
pub(super) fn table(story: &Story, colours: bool) -> String {
    let sent = Document::new(story.sent.as_bytes());
    let mut out = format!("#{}  {}\n", story.number, Paint::BOLD.over(&sent.title(), colours));
    let mut line = |label: &str, cells: [Cell; 3]| {
        let cells = cells.map(|(text, paint)| {
            let text = clip(&text);
            let pad = " ".repeat(CELL + 1 - text.chars().count());
            format!("{}{pad}", paint.over(&text, colours))
        });
        let text = format!("  {label:LABEL$}{}", cells.concat());
        out.push_str(text.trim_end());
        out.push('\n');
    };
    let heading = |text: &str| (text.to_owned(), Paint::DIM);
    match &story.end {
        End::Refused { why } => {
            line("", [heading("SENT"), heading("STORED"), heading("SEEN")]);
            for (at, field) in FIELDS.iter().enumerate() {
                let fate = if at == 0 { ("refused".to_owned(), Paint::RED) } else { nothing() };
                line(field, [(sent.field(field).unwrap_or_default(), Paint::PLAIN), fate, nothing()]);
            }
            line("bytes", [(story.sent.len().to_string(), Paint::PLAIN), nothing(), nothing()]);
            out.push_str(&format!("  {:LABEL$}{}\n", "", Paint::RED.over(why, colours)));
        }
        End::Stored { at, stored, seen } => {
            let before = &sent;
            let after = Document::new(stored);
            let shown = seen.as_ref().map(|seen| Document::new(seen));
            line("", [heading("SENT"), heading(&format!("STORED at {at}")), heading("SEEN in the view")]);
            for field in FIELDS {
                let is_seen = match &shown {
                    Some(shown) => (shown.field(field).unwrap_or_default(), Paint::GREEN),
                    None if field == DECIDES => ("not seen".to_owned(), Paint::DIM),
                    None => nothing(),
                };
                let is_sent = (before.field(field).unwrap_or_default(), Paint::PLAIN);
                line(field, [is_sent, changed(before.field(field), after.field(field)), is_seen]);
            }
            let seen_bytes = seen.as_ref().map_or_else(String::new, |seen| seen.len().to_string());
            let bytes = [story.sent.len().to_string(), stored.len().to_string(), seen_bytes];
            line("bytes", bytes.map(|bytes| (bytes, Paint::PLAIN)));
        }
    }
    out
}

fn nothing() -> Cell {
    (String::new(), Paint::PLAIN)
}

/// A stored member, beside what was sent.
fn changed(before: Option<String>, after: Option<String>) -> Cell {
    match (before, after) {
        (before, Some(after)) if before.as_ref() == Some(&after) => (after, Paint::PLAIN),
        (_, Some(after)) => (after, Paint::YELLOW),
        (Some(_), None) => ("(removed)".to_owned(), Paint::YELLOW),
        (None, None) => nothing(),
    }
}

/// A text as wide as a cell may be.
fn clip(text: &str) -> String {
    if text.chars().count() <= CELL {
        return text.to_owned();
    }
    text.chars().take(CELL - 1).chain(['…']).collect()
}

/// A value, read to be shown; what is not JSON shows nothing.
struct Document(Value);

impl Document {
    fn new(value: &[u8]) -> Self {
        Self(serde_json::from_slice(value).unwrap_or_default())
    }

    fn field(&self, name: &str) -> Option<String> {
        match self.0.get("properties")?.get(name)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    fn title(&self) -> String {
        self.field("title").unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::tally::Place;
    use bytes::Bytes;

    const SENT: &str = r#"{"properties":{"mag":4.7,"url":"https://earthquake.example/1","ids":",us1,","type":"earthquake","title":"M 4.7 - Fiji"}}"#;
    const STORED: &str = r#"{"properties":{"mag":4.7,"ids":"80e6bca1","type":"earthquake","title":"M 4.7 - Fiji"}}"#;

    fn check(end: End, expected: &str) {
        let story = Story { number: 15, sent: SENT, end };
        assert_eq!(table(&story, false), expected);
        assert!(table(&story, false).lines().all(|line| line.chars().count() < 80));
        let painted = table(&story, true);
        assert!(painted.contains("\x1b[1mM 4.7 - Fiji\x1b[0m"), "{painted}");
    }

    #[test]
    fn stored_and_seen() {
        let stored = Bytes::from_static(STORED.as_bytes());
        check(
            End::Stored { at: Place { partition: 2, offset: 14 }, seen: Some(stored.clone()), stored },
            "\
#15  M 4.7 - Fiji
          SENT                   STORED at 2:14         SEEN in the view
  type    earthquake             earthquake             earthquake
  mag     4.7                    4.7                    4.7
  ids     ,us1,                  80e6bca1               80e6bca1
  url     https://earthquake.ex… (removed)
  detail
  bytes   120                    86                     86
",
        );
    }

    #[test]
    fn stored_and_not_seen() {
        check(
            End::Stored {
                at: Place { partition: 0, offset: 0 },
                seen: None,
                stored: Bytes::from_static(STORED.as_bytes()),
            },
            "\
#15  M 4.7 - Fiji
          SENT                   STORED at 0:0          SEEN in the view
  type    earthquake             earthquake
  mag     4.7                    4.7                    not seen
  ids     ,us1,                  80e6bca1
  url     https://earthquake.ex… (removed)
  detail
  bytes   120                    86
",
        );
    }

    #[test]
    fn refused() {
        check(
            End::Refused { why: "redact: no".to_owned() },
            "\
#15  M 4.7 - Fiji
          SENT                   STORED                 SEEN
  type    earthquake             refused
  mag     4.7
  ids     ,us1,
  url     https://earthquake.ex…
  detail
  bytes   120
          redact: no
",
        );
    }
}
