//! Reads an account filter: characters to tokens, tokens to an expression.
//!
//! ```text
//! any        = all { "OR" all }
//! all        = term { "AND" term }
//! term       = "(" any ")" | operand comparison operand
//! operand    = field | word | number | "null" | "true" | "false" | quoted
//! comparison = "==" | "= =" | "!=" | "<" | "<=" | ">" | ">="
//! ```
//!
//! A bare word on the right is a text, even `OR` (Oregon); on the left it has to be a field. Only where the left is a literal is a field's
//! name on the right read as that field.

use super::{
    account_filter::{Comparison, Expression, Field, FilterError, Operand},
    amount,
};

/// Longer than any list of accounts that a person would write; keeps a forged one from costing time with every bill.
const FILTER_CHARACTERS_MAX: usize = 8_000;
/// Deeper than any filter a person would write, and far from the end of a stack.
const NESTING_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Open,
    Close,
    Compare(Comparison),
    Word(String),
    Quoted(String),
}

struct Placed {
    token: Token,
    position: usize,
}

pub(super) fn parse(text: &str) -> Result<Expression, FilterError> {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() > FILTER_CHARACTERS_MAX {
        let message = format!("the filter is longer than {FILTER_CHARACTERS_MAX} characters; shorten it");
        return Err(FilterError {
            position: FILTER_CHARACTERS_MAX + 1,
            message,
        });
    }
    let mut parser = Parser {
        tokens: tokens(&characters)?,
        next: 0,
        end: characters.len() + 1,
    };
    let expression = parser.any(0)?;
    match parser.tokens.get(parser.next) {
        None => Ok(expression),
        Some(left_over) => Err(FilterError {
            position: left_over.position,
            message: "AND, OR or the end was expected here; a text with spaces needs quotes".to_owned(),
        }),
    }
}

fn tokens(characters: &[char]) -> Result<Vec<Placed>, FilterError> {
    let mut placed = Vec::new();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let position = at + 1;
        if character.is_whitespace() {
            at += 1;
            continue;
        }
        let (token, length) = match character {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '"' | '\'' => quoted(characters, at)?,
            '=' | '!' | '<' | '>' => comparison(characters, at)?,
            _ => word(characters, at),
        };
        placed.push(Placed { token, position });
        at += length;
    }
    Ok(placed)
}

fn quoted(characters: &[char], at: usize) -> Result<(Token, usize), FilterError> {
    let quote = characters.get(at);
    let inside: String = characters
        .iter()
        .skip(at + 1)
        .take_while(|&character| Some(character) != quote)
        .collect();
    let length = inside.chars().count() + 2;
    if at + length > characters.len() {
        return Err(FilterError {
            position: at + 1,
            message: "this quote is never closed".to_owned(),
        });
    }
    Ok((Token::Quoted(inside), length))
}

fn comparison(characters: &[char], at: usize) -> Result<(Token, usize), FilterError> {
    let followed_by_equals = characters.get(at + 1) == Some(&'=');
    let (comparison, length) = match (characters.get(at), followed_by_equals) {
        (Some('='), true) => (Comparison::Equal, 2),
        (Some('!'), true) => (Comparison::NotEqual, 2),
        (Some('<'), true) => (Comparison::LessOrEqual, 2),
        (Some('>'), true) => (Comparison::GreaterOrEqual, 2),
        (Some('<'), false) => (Comparison::Less, 1),
        (Some('>'), false) => (Comparison::Greater, 1),
        (first, _) => {
            // m3ter's documentation renders `==` with a space in it, and people copy it from there.
            let spaces = characters
                .iter()
                .skip(at + 1)
                .take_while(|character| character.is_whitespace())
                .count();
            if first == Some(&'=') && characters.get(at + 1 + spaces) == Some(&'=') {
                (Comparison::Equal, spaces + 2)
            } else {
                let message = "this is no comparison; use ==, !=, <, <=, > or >=".to_owned();
                return Err(FilterError {
                    position: at + 1,
                    message,
                });
            }
        }
    };
    Ok((Token::Compare(comparison), length))
}

fn word(characters: &[char], at: usize) -> (Token, usize) {
    let ends = |character: &char| character.is_whitespace() || "()\"'=!<>".contains(*character);
    let word: String = characters
        .iter()
        .skip(at)
        .take_while(|&character| !ends(character))
        .collect();
    let length = word.chars().count();
    (Token::Word(word), length)
}

struct Parser {
    tokens: Vec<Placed>,
    next: usize,
    end: usize,
}

impl Parser {
    fn position(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |placed| placed.position)
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError {
            position: self.position(),
            message: message.into(),
        })
    }

    fn token(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|placed| &placed.token)
    }

    fn takes_word(&mut self, keyword: &str) -> bool {
        let taken = matches!(self.token(), Some(Token::Word(word)) if word == keyword);
        if taken {
            self.next += 1;
        }
        taken
    }

    fn any(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let mut parts = vec![self.all(depth)?];
        while self.takes_word("OR") {
            parts.push(self.all(depth)?);
        }
        Ok(Expression::Any(parts))
    }

    fn all(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let mut parts = vec![self.term(depth)?];
        while self.takes_word("AND") {
            parts.push(self.term(depth)?);
        }
        Ok(Expression::All(parts))
    }

    fn term(&mut self, depth: usize) -> Result<Expression, FilterError> {
        if self.token() == Some(&Token::Open) {
            if depth >= NESTING_MAX {
                return self.error(format!("parentheses are nested more than {NESTING_MAX} deep"));
            }
            self.next += 1;
            let inner = self.any(depth + 1)?;
            if self.token() != Some(&Token::Close) {
                return self
                    .error("AND, OR or a closing parenthesis was expected here; a text with spaces needs quotes");
            }
            self.next += 1;
            return Ok(inner);
        }
        let left = self.left()?;
        let Some(Token::Compare(comparison)) = self.token() else {
            return self.error("a comparison was expected here: ==, !=, <, <=, > or >=");
        };
        let comparison = *comparison;
        self.next += 1;
        let right = self.right(&left)?;
        Ok(Expression::Compare {
            left,
            comparison,
            right,
        })
    }

    fn left(&mut self) -> Result<Operand, FilterError> {
        let operand = match self.token() {
            Some(Token::Quoted(text)) => Operand::Text(text.clone()),
            Some(Token::Word(word)) => match literal(word).or_else(|| Field::parse(word).map(Operand::Field)) {
                Some(operand) => operand,
                None => {
                    let message = format!(
                        "{word:?} is no field that a filter knows; it knows {}. A text on the left needs quotes",
                        Field::KNOWN
                    );
                    return self.error(message);
                }
            },
            _ => return self.error(format!("a field was expected here: {}", Field::KNOWN)),
        };
        self.next += 1;
        Ok(operand)
    }

    fn right(&mut self, left: &Operand) -> Result<Operand, FilterError> {
        let operand = match self.token() {
            Some(Token::Quoted(text)) => Operand::Text(text.clone()),
            Some(Token::Word(word)) => {
                let field = match left {
                    Operand::Field(_) => None,
                    Operand::Null | Operand::Flag(_) | Operand::Number(..) | Operand::Text(_) => Field::parse(word),
                };
                field
                    .map(Operand::Field)
                    .or_else(|| literal(word))
                    .unwrap_or_else(|| Operand::Text(word.clone()))
            }
            _ => return self.error("a value was expected here: a text, a number, true, false or null"),
        };
        self.next += 1;
        Ok(operand)
    }
}

fn literal(word: &str) -> Option<Operand> {
    match word {
        "null" => Some(Operand::Null),
        "true" => Some(Operand::Flag(true)),
        "false" => Some(Operand::Flag(false)),
        _ => {
            let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
            let is_number = digits.starts_with(|character: char| character.is_ascii_digit() || character == '.');
            is_number
                .then(|| amount::decimal(word).ok())
                .flatten()
                .map(|number| Operand::Number(number, word.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_says_where() {
        let check = |filter: &str, position: usize, hint: &str| {
            let error = parse(filter).unwrap_err();
            assert_eq!(error.position, position, "{filter}: {error}");
            assert!(error.message.contains(hint), "{filter}: {error}");
        };
        check("", 1, "a field was expected");
        check("currency", 9, "a comparison was expected");
        check("currency ==", 12, "a value was expected");
        check("currency = USD", 10, "no comparison");
        check("currency ! USD", 10, "no comparison");
        check("currency == 'USD", 13, "never closed");
        check("name == Acme", 1, "accountName");
        check("ünknown == Acme", 1, "accountName");
        check("currency == USD, name == x", 18, "AND, OR or the end");
        check("accountName == Acme Inc", 21, "needs quotes");
        check("currency == USD AND", 20, "a field was expected");
        check("(currency == USD", 17, "closing parenthesis");
        check("currency == USD)", 16, "the end");
        check("customFields. == x", 1, "customFields.<name>");
        check("currency == == USD", 13, "a value was expected");
        check("currency == ()", 13, "a value was expected");
        let deep = format!("{}currency == USD{}", "(".repeat(40), ")".repeat(40));
        check(&deep, 33, "nested");
        check(&"(".repeat(7_999), 33, "nested");
        check(&"x".repeat(8_001), 8_001, "longer");
    }

    #[test]
    fn a_long_flat_filter_is_read() {
        let flat = vec!["id == a1"; 500].join(" OR ");
        assert!(parse(&flat).is_ok());
    }

    #[test]
    fn every_text_beside_a_comparison_has_one_meaning() {
        let text = |text: &str| Operand::Text(text.to_owned());
        let number = |text: &str| Operand::Number(amount::decimal(text).unwrap(), text.to_owned());
        let field = |name: &str| Operand::Field(Field::parse(name).unwrap());
        let check = |filter: &str, left: Operand, comparison: Comparison, right: Operand| {
            let compare = Expression::Compare {
                left,
                comparison,
                right,
            };
            let expect = Expression::Any(vec![Expression::All(vec![compare])]);
            assert_eq!(parse(filter), Ok(expect), "{filter}");
        };
        let equal = Comparison::Equal;
        // On the right of a field every word is a value.
        for (word, meaning) in [
            ("USD", text("USD")),
            ("OR", text("OR")),
            ("address", text("address")),
            ("null", Operand::Null),
            ("true", Operand::Flag(true)),
            ("false", Operand::Flag(false)),
            ("True", text("True")),
            ("7", number("7")),
            ("-7", number("-7")),
            ("+7", number("+7")),
            (".7", number(".7")),
            ("7e3", number("7e3")),
            ("7x", text("7x")),
            ("-x", text("-x")),
            ("'7'", text("7")),
            ("\"it's\"", text("it's")),
            ("'say \"x\"'", text("say \"x\"")),
            ("''", text("")),
        ] {
            check(&format!("currency == {word}"), field("currency"), equal, meaning);
        }
        // On the left, and on the right of a value, a field's name is that field.
        for (word, meaning) in [
            ("null", Operand::Null),
            ("true", Operand::Flag(true)),
            ("7", number("7")),
            ("'x'", text("x")),
        ] {
            check(&format!("{word} == currency"), meaning, equal, field("currency"));
        }
        check("'x' == abc", text("x"), equal, text("abc"));
        for (sign, comparison) in [
            ("==", Comparison::Equal),
            ("= =", Comparison::Equal),
            ("=   =", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<", Comparison::Less),
            ("<=", Comparison::LessOrEqual),
            (">", Comparison::Greater),
            (">=", Comparison::GreaterOrEqual),
        ] {
            check(&format!("id {sign} x"), field("id"), comparison, text("x"));
            check(&format!("id{sign}x"), field("id"), comparison, text("x"));
        }
    }

    #[test]
    fn and_binds_before_or_and_parentheses_before_both() {
        let check = |filter: &str, same: &str| assert_eq!(parse(filter), parse(same), "{filter}");
        let is = |value: &str| {
            let all = parse(&format!("id == {value}")).unwrap();
            let Expression::Any(parts) = &all else {
                unreachable!("a filter begins with what OR joins")
            };
            let [Expression::All(parts)] = parts.as_slice() else {
                unreachable!("nothing is joined")
            };
            parts[0].clone()
        };
        let read = parse("id == a OR id == b AND id == c").unwrap();
        assert_eq!(
            read,
            Expression::Any(vec![
                Expression::All(vec![is("a")]),
                Expression::All(vec![is("b"), is("c")])
            ])
        );
        check(" id==a\tOR id==b\nAND id==c ", "id == a OR id == b AND id == c");
        assert_eq!(
            parse("(id == a OR id == b) AND id == c").unwrap(),
            Expression::Any(vec![Expression::All(vec![
                Expression::Any(vec![Expression::All(vec![is("a")]), Expression::All(vec![is("b")])]),
                is("c")
            ])])
        );
    }

    #[test]
    fn a_filter_may_be_as_long_and_as_deep_as_its_limits() {
        let nested = |depth: usize| format!("{}id == a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(NESTING_MAX)).is_ok());
        let error = parse(&nested(NESTING_MAX + 1)).unwrap_err();
        assert!(error.to_string().contains("more than 32 deep"), "{error}");
        let long = |characters: usize| format!("id == {}", "x".repeat(characters - "id == ".len()));
        assert!(parse(&long(FILTER_CHARACTERS_MAX)).is_ok());
        let error = parse(&long(FILTER_CHARACTERS_MAX + 1)).unwrap_err();
        assert_eq!(error.position, 8_001, "{error}");
        assert!(error.to_string().contains("longer than 8000 characters"), "{error}");
        assert_eq!(parse("currency ! = USD").unwrap_err().position, 10);
    }
}
