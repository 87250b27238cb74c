//! Basic authentication.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

/// Returns whether a request carries this name and password.
pub(crate) fn is_admitted(headers: &HeaderMap, (name, password): &(String, String)) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let encoded =
        given.and_then(|given| given.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let Some(decoded) = encoded.and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok()) else { return false };
    is_same(&decoded, format!("{name}:{password}").as_bytes())
}

/// Compares without telling by the time it takes how much was right.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |sum, (one, other)| sum | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_password_must_be_right() {
        let login = ("me".to_owned(), "se:cret".to_owned());
        let with = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, text.parse().unwrap());
            is_admitted(&headers, &login)
        };
        assert!(with(&format!("Basic {}", STANDARD.encode("me:se:cret"))));
        assert!(with(&format!("basic {}", STANDARD.encode("me:se:cret"))));
        for wrong in ["me:se", "me:se:crett", "", "you:se:cret"] {
            assert!(!with(&format!("Basic {}", STANDARD.encode(wrong))), "{wrong}");
        }
        assert!(!with("Bearer me:se:cret") && !with("Basic %%%"));
        assert!(!is_admitted(&HeaderMap::new(), &login));
    }
}
