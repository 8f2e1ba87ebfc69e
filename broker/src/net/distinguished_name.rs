//! The subject of a certificate as Kafka writes it: `CN=alice,OU=ops,O=Example`.
//!
//! Kafka takes Java's `X500Principal.getName()`, which is RFC 2253: the last attribute first, the keywords of its section
//! 2.3 and no others, every other attribute by its number with the value as `#` and hexadecimal DER. Access rules name
//! principals by this text, so that it has to be the same to the letter.

use std::fmt::Write as _;

use rustls_pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    der_parser::asn1_rs::{Any, ToDer},
    prelude::FromDer,
    x509::{AttributeTypeAndValue, X509Name},
};

/// Attribute types that RFC 2253 gives a keyword.
const KEYWORDS: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// The certificate's subject; none if the certificate cannot be read or its subject is empty.
pub(crate) fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = rfc2253(certificate.subject())?;
    (!name.is_empty()).then_some(name)
}

fn rfc2253(name: &X509Name<'_>) -> Option<String> {
    let mut sets: Vec<String> = Vec::new();
    for set in name.iter_rdn() {
        let attributes: Option<Vec<String>> = set.iter().map(attribute).collect();
        sets.push(attributes?.join("+"));
    }
    sets.reverse();
    Some(sets.join(","))
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let id = attribute.attr_type().to_id_string();
    let keyword = KEYWORDS.iter().find(|(number, _)| *number == id).map(|(_, keyword)| *keyword);
    match (keyword, attribute.as_str()) {
        (Some(keyword), Ok(value)) => Some(format!("{keyword}={}", escaped(value))),
        _ => Some(format!("{}=#{}", keyword.unwrap_or(&id), hexadecimal(attribute.attr_value())?)),
    }
}

/// Section 2.4: special characters get a backslash, and so do a space or `#` in front and a space at the end.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=');
        if special || (at == 0 && c == '#') || (c == ' ' && (at == 0 || at == last)) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn hexadecimal(value: &Any<'_>) -> Option<String> {
    let der = value.to_der_vec().ok()?;
    let mut out = String::with_capacity(der.len() * 2);
    for byte in der {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    fn check(attributes: &[(DnType, &str)], expected: Option<&str>) {
        let mut name = DistinguishedName::new();
        for (kind, value) in attributes {
            name.push(kind.clone(), DnValue::Utf8String((*value).to_owned()));
        }
        let mut params = CertificateParams::new(Vec::new()).expect("no names to get wrong");
        params.distinguished_name = name;
        let certificate = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        assert_eq!(subject(certificate.der()).as_deref(), expected, "{attributes:?}");
    }

    #[test]
    fn as_java_writes_them() {
        use DnType::{CommonName, CountryName, OrganizationName};
        check(&[(CommonName, "alice")], Some("CN=alice"));
        check(
            &[(CountryName, "CH"), (OrganizationName, "Example"), (CommonName, "alice")],
            Some("CN=alice,O=Example,C=CH"),
        );
        check(
            &[(OrganizationName, "Smith, Sons + Co"), (CommonName, "a=\"b\"")],
            Some(r#"CN=a\=\"b\",O=Smith\, Sons \+ Co"#),
        );
        check(&[(CommonName, " padded ")], Some(r"CN=\ padded\ "));
        check(&[(CommonName, "#1")], Some(r"CN=\#1"));
        check(&[(CommonName, "Zoë")], Some("CN=Zoë"));
        check(
            &[(DnType::CustomDnType(vec![1, 2, 840, 113549, 1, 9, 1]), "a@b")],
            Some("1.2.840.113549.1.9.1=#0c03614062"),
        );
        check(&[], None);
    }

    #[test]
    fn what_is_no_certificate_has_no_subject() {
        assert_eq!(subject(&CertificateDer::from(vec![0x30, 0x03, 1, 2, 3])), None);
    }
}
