//! What a broker says when it begins to serve: where clients find it.

/// The line of a broker that serves, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Serving {
    pub(crate) cluster_id: String,
    pub(crate) bootstrap: String,
    pub(crate) admin: String,
}

impl Serving {
    /// `sluice: serving, broker 1 of cluster <id>, listeners SSL://127.0.0.1:9093, admin https://127.0.0.1:9644`
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (_, serving) = line.split_once("sluice: serving, broker ")?;
        let after = |mark: &str| serving.split_once(mark)?.1.split([',', ' ']).next();
        Some(Self {
            cluster_id: after("of cluster ")?.to_owned(),
            bootstrap: after(" SSL://")?.to_owned(),
            admin: after("admin ")?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_clients_go() {
        check("SSL://127.0.0.1:9093");
        check("SSL://127.0.0.1:9093, INTERNAL://127.0.0.1:9094");
        check("INTERNAL://127.0.0.1:9094, SSL://127.0.0.1:9093");
    }

    fn check(listeners: &str) {
        let line =
            format!("INFO sluice: serving, broker 1 of cluster abc, listeners {listeners}, admin https://127.0.0.1:1");
        let serving = Serving::parse(&line).expect("it serves");
        assert_eq!(serving.bootstrap, "127.0.0.1:9093", "{line}");
        assert_eq!((serving.cluster_id.as_str(), serving.admin.as_str()), ("abc", "https://127.0.0.1:1"));
    }
}
