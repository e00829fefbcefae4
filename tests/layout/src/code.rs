//! What Rust source names: its paths, without comments and texts.
//!
//! `use` groups are unfolded, so that `use crate::{effects::mail, Outbill}` names `crate::effects::mail`
//! and `crate::Outbill`.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path or a lone word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its parts: `["crate", "values", "hour"]`.
    pub parts: Vec<String>,
    /// The line, from 1.
    pub line: usize,
    /// Whether it stands in a `use` or `extern crate`.
    pub imported: bool,
}

impl Named {
    /// As it would be written.
    pub fn text(&self) -> String {
        self.parts.join("::")
    }
}

/// Everything that a source names, in its order. Error: it is no Rust.
pub fn named(source: &str) -> Result<Vec<Named>, String> {
    let tokens = TokenStream::from_str(source).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    walk(tokens, &mut found);
    Ok(found)
}

fn walk(tokens: TokenStream, found: &mut Vec<Named>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    let mut imported = false;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Ident(word) if word == "use" => {
                imported = true;
                at += 1;
            }
            TokenTree::Ident(_) => at = path(&tokens, at, &[], imported, found),
            TokenTree::Group(group) => {
                walk(group.stream(), found);
                at += 1;
            }
            TokenTree::Punct(sign) => {
                imported = imported && sign.as_char() != ';';
                at += 1;
            }
            TokenTree::Literal(_) => at += 1,
        }
    }
}

/// Reads a path that begins at `at`, after `prefix`; gives the place behind it.
fn path(tokens: &[TokenTree], mut at: usize, prefix: &[String], imported: bool, found: &mut Vec<Named>) -> usize {
    let mut parts = prefix.to_vec();
    let mut line = 0;
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        parts.push(word.to_string());
        line = word.span().start().line;
        at += 1;
        if !is_double_colon(tokens, at) {
            break;
        }
        at += 2;
        if let Some(TokenTree::Group(group)) = tokens.get(at)
            && group.delimiter() == Delimiter::Brace
        {
            unfold(group.stream(), &parts, found);
            return at + 1;
        }
    }
    found.push(Named { parts, line, imported });
    at
}

fn unfold(group: TokenStream, prefix: &[String], found: &mut Vec<Named>) {
    let tokens: Vec<TokenTree> = group.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at = match token {
            // What follows `as` is a new name, not a part of the path.
            TokenTree::Ident(word) if word == "as" => at + 2,
            TokenTree::Ident(_) => path(&tokens, at, prefix, true, found),
            _ => at + 1,
        };
    }
}

fn is_double_colon(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(sign)) if sign.as_char() == ':');
    colon(at) && colon(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_unfolded_and_comments_and_texts_are_not_read() {
        let source = r#"
            //! [`crate::doc`]
            use crate::{
                Outbill,
                effects::{mail as post, table::Table},
            };
            // crate::comment
            fn f() -> &'static str { let _ = std::env::var("crate::text"); g::<a::B>() }
        "#;
        let found: Vec<(String, usize)> = named(source)
            .unwrap()
            .iter()
            .filter(|named| named.parts.len() > 1)
            .map(|named| (named.text(), named.line))
            .collect();
        let expect = [
            ("crate::Outbill", 4),
            ("crate::effects::mail", 5),
            ("crate::effects::table::Table", 5),
            ("std::env::var", 8),
            ("a::B", 8),
        ];
        assert_eq!(found, expect.map(|(path, line)| (path.to_owned(), line)));
    }

    #[test]
    fn what_is_no_rust_is_an_error() {
        assert!(named("fn f( {").is_err());
    }
}
