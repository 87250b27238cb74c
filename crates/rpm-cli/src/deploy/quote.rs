//! Text for a shell on the other side: whatever it is, it arrives unchanged.

/// Returns the text as one word of a POSIX shell.
///
/// Between single quotes a shell changes nothing; only the quote itself has to stand outside of them.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Returns a path as one word; `~/` is the home of the user there.
pub fn quote_path(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some(rest) => format!("\"$HOME\"/{}", quote(rest)),
        None => quote(path),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Returns what a shell makes of a word.
    fn arrived(shell: &str, word: &str) -> Vec<u8> {
        let output = Command::new(shell).arg("-c").arg(format!("printf %s {word}")).output().unwrap();
        assert!(output.status.success(), "{word}");
        output.stdout
    }

    /// Texts made of the characters that shells care about, the same at every run.
    fn texts() -> impl Iterator<Item = String> {
        const LETTERS: [&str; 24] = [
            "'", "\"", "\\", "$", "`", "!", "\n", " ", "\t", "*", "?", "~", "&", ";", "|", "(", ")", "{", "}", "#",
            "-", "%s", "ä", "x",
        ];
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        (0..300).map(move |_| {
            let mut next = || {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed as usize
            };
            let length = next() % 12;
            (0..length).map(|_| LETTERS[next() % LETTERS.len()]).collect()
        })
    }

    #[test]
    fn any_text_arrives_unchanged() {
        for text in texts() {
            assert_eq!(arrived("sh", &quote(&text)), text.as_bytes(), "{text:?}");
            assert_eq!(arrived("bash", &quote(&text)), text.as_bytes(), "{text:?}");
            // As a script within a script, the way it travels over ssh.
            let nested = format!("\"$(sh -c {})\"", quote(&format!("printf '%s.' {}", quote(&text))));
            assert_eq!(arrived("sh", &nested), format!("{text}.").as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn the_home_of_a_path_is_the_hosts() {
        assert_eq!(quote_path("~/my app"), "\"$HOME\"/'my app'");
        assert_eq!(quote_path("/srv/~/$x"), "'/srv/~/$x'");
    }
}
