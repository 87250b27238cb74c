//! The syntax of nginx's files: words, `;`, blocks, `include`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{ConfigError, Diagnostic, Source};

/// Deeper than this nobody nests, and nobody's stack ends.
const DEPTH_MAX: usize = 32;

/// A file that includes itself would never end.
const FILES_MAX: usize = 256;

/// One directive.
#[derive(Debug, Clone)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) source: Arc<Source>,
    pub(super) span: Range<usize>,
    /// What stands in its braces.
    pub(super) block: Option<Vec<Directive>>,
}

impl Directive {
    /// Returns it as it is written, without its block.
    pub(super) fn shown(&self) -> String {
        std::iter::once(&self.name).chain(&self.args).map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    pub(super) fn inside(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Semicolon,
    Open,
    Close,
}

/// Reads a file and what it includes; files that are included hang on the directory of the first.
pub(super) fn read(source: &Arc<Source>, path: &Path) -> Result<Vec<Directive>, ConfigError> {
    let base = path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let mut files = 0;
    read_one(source, &base, &mut files)
}

fn read_one(source: &Arc<Source>, base: &Path, files: &mut usize) -> Result<Vec<Directive>, ConfigError> {
    *files += 1;
    if *files > FILES_MAX {
        return Err(broken(source, 0..0, "more files are included than anybody has; does one include itself?"));
    }
    let tokens = tokens(source)?;
    let mut at = 0;
    let directives = block(source, &tokens, &mut at, 0)?;
    if let Some((_, span)) = tokens.get(at) {
        return Err(broken(source, span.clone(), "this `}` closes nothing"));
    }
    included(directives, base, files)
}

/// Puts what is included in the place of `include`; a file that cannot be read stays as it is, to be named later.
fn included(directives: Vec<Directive>, base: &Path, files: &mut usize) -> Result<Vec<Directive>, ConfigError> {
    let mut all = Vec::new();
    for mut directive in directives {
        if let Some(block) = directive.block.take() {
            directive.block = Some(included(block, base, files)?);
        }
        if directive.name != "include" {
            all.push(directive);
            continue;
        }
        let found = matching(&base.join(directive.arg(0)));
        if found.is_empty() && !directive.arg(0).contains('*') {
            all.push(directive);
            continue;
        }
        for path in found {
            let Ok(text) = std::fs::read_to_string(&path) else {
                all.push(directive.clone());
                continue;
            };
            let source = Arc::new(Source { name: path.display().to_string(), text });
            all.extend(read_one(&source, base, files)?);
        }
    }
    Ok(all)
}

/// Returns the files that a path means, whose last part may have `*` in it.
fn matching(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !name.contains('*') {
        return if path.is_file() { vec![path.to_path_buf()] } else { Vec::new() };
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| fits(&name, &entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| fits(after, &rest[at..]))
        }),
    }
}

fn block(
    source: &Arc<Source>,
    tokens: &[(Token, Range<usize>)],
    at: &mut usize,
    depth: usize,
) -> Result<Vec<Directive>, ConfigError> {
    let mut directives = Vec::new();
    let mut words: Vec<(String, Range<usize>)> = Vec::new();
    while let Some((token, span)) = tokens.get(*at) {
        match token {
            Token::Close if words.is_empty() => return Ok(directives),
            Token::Close => return Err(broken(source, span.clone(), "expected `;` before this")),
            Token::Word(word) => words.push((word.clone(), span.clone())),
            Token::Semicolon | Token::Open => {
                let mut given = std::mem::take(&mut words).into_iter();
                let Some((name, first)) = given.next() else {
                    return Err(broken(source, span.clone(), "expected a directive before this"));
                };
                let (args, spans): (Vec<String>, Vec<Range<usize>>) = given.unzip();
                let end = spans.last().map_or(first.end, |last| last.end);
                let inner = if *token == Token::Open {
                    if depth >= DEPTH_MAX {
                        return Err(broken(source, span.clone(), "it is nested too deeply"));
                    }
                    *at += 1;
                    let inner = block(source, tokens, at, depth + 1)?;
                    if *at >= tokens.len() {
                        return Err(broken(source, first, "this block is not closed"));
                    }
                    Some(inner)
                } else {
                    None
                };
                directives.push(Directive { name, args, source: source.clone(), span: first.start..end, block: inner });
            }
        }
        *at += 1;
    }
    match words.first() {
        Some((_, span)) => Err(broken(source, span.clone(), "expected `;` at its end")),
        None => Ok(directives),
    }
}

fn tokens(source: &Arc<Source>) -> Result<Vec<(Token, Range<usize>)>, ConfigError> {
    let text = &source.text;
    let mut tokens = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        match c {
            _ if c.is_whitespace() => {}
            '#' => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            ';' => tokens.push((Token::Semicolon, start..start + 1)),
            '{' => tokens.push((Token::Open, start..start + 1)),
            '}' => tokens.push((Token::Close, start..start + 1)),
            '"' | '\'' => {
                let mut word = String::new();
                loop {
                    match chars.next() {
                        Some((_, '\\')) => word.extend(chars.next().map(|(_, c)| c)),
                        Some((end, other)) if other == c => {
                            tokens.push((Token::Word(word), start..end + 1));
                            break;
                        }
                        Some((_, other)) => word.push(other),
                        None => return Err(broken(source, start..start + 1, "this quote is not closed")),
                    }
                }
            }
            _ => {
                let mut word = String::from(c);
                let mut end = start + c.len_utf8();
                // `${name}` is part of a word.
                while let Some((at, next)) = chars.next_if(|(_, c)| {
                    !(c.is_whitespace() || matches!(c, ';' | '{' | '}')) || *c == '{' && word.ends_with('$')
                }) {
                    end = at + next.len_utf8();
                    word.push(next);
                    if next == '{' {
                        for (at, inner) in chars.by_ref() {
                            end = at + inner.len_utf8();
                            word.push(inner);
                            if inner == '}' {
                                break;
                            }
                        }
                    }
                }
                tokens.push((Token::Word(word), start..end));
            }
        }
    }
    Ok(tokens)
}

fn broken(source: &Arc<Source>, span: Range<usize>, why: &str) -> ConfigError {
    let mistake = Diagnostic::mistake(format!("{} is no configuration of nginx", source.name));
    mistake.at(source, Some(span)).label(why).into()
}
