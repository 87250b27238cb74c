//! Values with variables: `https://$host$path$query`.

/// What stands for a variable.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Values<'v> {
    pub scheme: &'v [u8],
    pub host: &'v [u8],
    pub path: &'v [u8],
    /// With its `?`; empty where there is none.
    pub query: &'v [u8],
    pub remote_addr: &'v [u8],
    pub request_id: &'v [u8],
}

/// A value with variables, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Scheme,
    Host,
    Path,
    Query,
    RemoteAddr,
    RequestId,
}

const NAMES: [(&str, Part); 6] = [
    ("scheme", Part::Scheme),
    ("host", Part::Host),
    ("path", Part::Path),
    ("query", Part::Query),
    ("remote_addr", Part::RemoteAddr),
    ("request_id", Part::RequestId),
];

impl Template {
    /// Takes a value apart.
    ///
    /// # Errors
    /// With a sentence, for a variable that does not exist and for bytes that may not stand in a header.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(format!("{text:?} has a line end in it"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            push(&mut parts, before);
            let end = from[1..].find(|c: char| !c.is_ascii_lowercase() && c != '_').map_or(from.len(), |end| end + 1);
            let name = &from[1..end];
            match NAMES.iter().find(|(known, _)| *known == name) {
                Some((_, part)) => parts.push(part.clone()),
                None if name.is_empty() => push(&mut parts, "$"),
                None => {
                    let known = NAMES.map(|(name, _)| format!("${name}")).join(", ");
                    return Err(format!("${name} is no variable; there are {known}"));
                }
            }
            rest = &from[end..];
        }
        push(&mut parts, rest);
        Ok(Self(parts))
    }

    /// Writes the value.
    pub fn write(&self, values: &Values<'_>, out: &mut Vec<u8>) {
        for part in &self.0 {
            out.extend_from_slice(match part {
                Part::Text(text) => text,
                Part::Scheme => values.scheme,
                Part::Host => values.host,
                Part::Path => values.path,
                Part::Query => values.query,
                Part::RemoteAddr => values.remote_addr,
                Part::RequestId => values.request_id,
            });
        }
    }
}

fn push(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_and_unknown_ones_named() {
        let template = Template::parse("$scheme://$host:8443$path$query costs $5").unwrap();
        let mut out = Vec::new();
        let values = Values { scheme: b"https", host: b"a.b", path: b"/x", query: b"?y", ..Values::default() };
        template.write(&values, &mut out);
        assert_eq!(out, b"https://a.b:8443/x?y costs $5");
        assert!(Template::parse("$hots").unwrap_err().contains("$hots is no variable"));
        assert!(Template::parse("a\r\nb").is_err());
    }
}
