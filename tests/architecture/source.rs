//! Reads the source files as text: comments, strings and tests are blanked, then paths are picked out.

use std::fs;
use std::path::{Path, PathBuf};

/// One file, without its comments, strings and tests.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// The module below the crate's root that it belongs to.
    pub(crate) module: String,
    /// Blanks for what was taken out, so that places and lines stay.
    pub(crate) code: String,
    /// How many modules lie between it and the root.
    depth: usize,
}

/// The files below `src`, but those that are only tests.
pub(crate) fn sources(src: &Path) -> Vec<Source> {
    let mut tests = Vec::new();
    let mut sources = Vec::new();
    read(src, src, &mut tests, &mut sources);
    sources.retain(|source| {
        let path = source.path.with_extension("");
        !tests.iter().any(|test| path.starts_with(test))
    });
    sources
}

impl Source {
    /// Line number and module of each path into the crate.
    pub(crate) fn uses(&self) -> Vec<(usize, String)> {
        let to_root = format!("{}::", vec!["super"; self.depth].join("::"));
        let mut uses = Vec::new();
        for (start, _) in self.code.match_indices("::") {
            let before = &self.code[..start];
            let from_root = ["crate", "idemproxy"]
                .iter()
                .any(|name| ends_with_word(before, name))
                || (self.depth > 0 && ends_with_word(&self.code[..start + 2], &to_root));
            if from_root {
                let names = names_at(&self.code[start + 2..]).into_iter();
                // What begins with a capital is an item of the root itself.
                let modules = names.filter(|name| name.starts_with(char::is_lowercase));
                uses.extend(modules.map(|name| (self.line(start), name)));
            }
        }
        uses
    }

    pub(crate) fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }
}

fn read(src: &Path, folder: &Path, tests: &mut Vec<PathBuf>, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(src, &path, tests, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let mut code = without_words(&fs::read_to_string(&path).unwrap());
            let children = match path.file_stem().unwrap().to_str().unwrap() {
                "mod" | "lib" | "main" => path.parent().unwrap().to_owned(),
                _ => path.with_extension(""),
            };
            let taken_out = take_tests_out(&mut code);
            tests.extend(taken_out.into_iter().map(|name| children.join(name)));
            let below = children.strip_prefix(src).unwrap();
            let module = match below.iter().next() {
                Some(module) => module.to_str().unwrap().to_owned(),
                None => path.file_stem().unwrap().to_str().unwrap().to_owned(),
            };
            // The root of the library names its modules, and no more.
            if module != "lib" {
                sources.push(Source {
                    module,
                    depth: below.iter().count(),
                    path,
                    code,
                });
            }
        }
    }
}

/// The first names of what follows a `::`, which may be a group.
fn names_at(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
        return if name.is_empty() { vec![] } else { vec![name] };
    };
    let mut names = Vec::new();
    let (mut depth, mut name, mut in_head) = (0, String::new(), true);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(std::mem::take(&mut name));
                in_head = true;
            }
            c if in_head && is_word(c) => name.push(c),
            c if c.is_whitespace() => {}
            _ => in_head = false,
        }
    }
    names.push(name);
    names.retain(|name| !name.is_empty() && name != "self");
    names
}

fn ends_with_word(text: &str, word: &str) -> bool {
    text.strip_suffix(word)
        .is_some_and(|before| !before.ends_with(|c| is_word(c) || c == ':'))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Blanks each item under `#[cfg(test)]`; the names of modules in files of their own.
fn take_tests_out(code: &mut String) -> Vec<String> {
    const MARK: &str = "#[cfg(test)]";
    let mut names = Vec::new();
    while let Some(start) = code.find(MARK) {
        let body = start + MARK.len();
        let mut depth = 0_usize;
        let mut end = code.len();
        for (at, c) in code[body..].char_indices() {
            match c {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && (c == ';' || c == '}') {
                end = body + at + 1;
                break;
            }
        }
        let item = &code[body..end];
        if let Some((_, name)) = item.trim_end_matches(';').rsplit_once("mod ")
            && item.ends_with(';')
        {
            names.push(name.trim().to_owned());
        }
        let blank = blank(&code[start..end]);
        code.replace_range(start..end, &blank);
    }
    names
}

/// Blanks comments, and what is in quotes.
fn without_words(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let after_word = code.ends_with(is_word);
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if rest.starts_with('"') {
            string(rest)
        } else if rest.starts_with('\'') {
            character(rest)
        } else if !after_word && (rest.starts_with("r\"") || rest.starts_with("r#")) {
            raw_string(rest, 1)
        } else if !after_word && (rest.starts_with("br\"") || rest.starts_with("br#")) {
            raw_string(rest, 2)
        } else {
            0
        };
        if length == 0 {
            let c = rest.chars().next().unwrap();
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.push_str(&blank(&rest[..length]));
            rest = &rest[length..];
        }
    }
    code
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = &text[at..];
        match (rest.find("/*"), rest.find("*/")) {
            (Some(open), Some(close)) if open < close => (depth, at) = (depth + 1, at + open + 2),
            (_, Some(close)) if depth > 1 => (depth, at) = (depth - 1, at + close + 2),
            (_, Some(close)) => return at + close + 2,
            _ => return text.len(),
        }
    }
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Nothing for a lifetime or a label.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(0, |at| at + 4),
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// Nothing for a raw identifier.
fn raw_string(text: &str, prefix: usize) -> usize {
    let hashes = text[prefix..].chars().take_while(|c| *c == '#').count();
    let start = prefix + hashes;
    if !text[start..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[start + 1..]
        .find(&close)
        .map_or(text.len(), |at| start + 1 + at + close.len())
}

fn blank(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' { '\n' } else { ' ' })
        .collect()
}
