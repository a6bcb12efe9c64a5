//! Tokens of dagitty and DOT texts, each with the line and column where it starts. The scanner
//! that counts lines is shared with the readers of GML and BIF.

use crate::LabError;

/// Where a token starts; both count from one, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// What a token is. A quoted word is never a keyword.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Word { text: String, quoted: bool },
    Arrow(Arrow),
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Equals,
    Comma,
    Semicolon,
    Colon,
    End,
}

/// The marks between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrow {
    Right,
    Left,
    Both,
    Undirected,
    /// `@->`: an open end and an arrowhead.
    CircleRight,
    /// `<-@`
    CircleLeft,
    /// `@-@`: two open ends.
    Circles,
}

pub(crate) fn wrong(at: Position, message: impl AsRef<str>) -> LabError {
    let Position { line, column } = at;
    LabError::invalid(
        "graph",
        format!("line {line}, column {column}: {}", message.as_ref()),
    )
}

pub(crate) fn wrong_with_hint(at: Position, message: &str, hint: &str) -> LabError {
    let Position { line, column } = at;
    LabError::invalid_with_hint(
        "graph",
        format!("line {line}, column {column}: {message}"),
        hint,
    )
}

pub(crate) struct Scanner<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    pub(crate) at: Position,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars().peekable(),
            at: Position { line: 1, column: 1 },
        }
    }

    pub(crate) fn next(&mut self) -> Option<char> {
        let found = self.rest.next()?;
        if found == '\n' {
            self.at = Position {
                line: self.at.line + 1,
                column: 1,
            };
        } else {
            self.at.column += 1;
        }
        Some(found)
    }

    pub(crate) fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    pub(crate) fn take_if(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    pub(crate) fn skip_line(&mut self) {
        while self.peek().is_some_and(|next| next != '\n') {
            self.next();
        }
    }

    pub(crate) fn skip_block(&mut self, start: Position) -> Result<(), LabError> {
        while let Some(found) = self.next() {
            if found == '*' && self.take_if('/') {
                return Ok(());
            }
        }
        Err(wrong(start, "this comment has no end"))
    }

    fn quoted(&mut self, start: Position, end: char) -> Result<Token, LabError> {
        let mut text = String::new();
        while let Some(found) = self.next() {
            if found == end {
                return Ok(Token::Word { text, quoted: true });
            }
            let escaped = self.peek().filter(|&next| next == end || next == '\\');
            if let (true, Some(next)) = (found == '\\', escaped) {
                self.next();
                text.push(next);
            } else {
                text.push(found);
            }
        }
        Err(wrong(start, "this quoted name has no end"))
    }

    fn word(&mut self, first: char) -> Token {
        let mut text = String::from(first);
        while let Some(next) = self.peek().filter(|next| in_word(*next)) {
            text.push(next);
            self.next();
        }
        Token::Word {
            text,
            quoted: false,
        }
    }

    fn dash(&mut self, start: Position) -> Result<Token, LabError> {
        if self.take_if('>') {
            return Ok(Token::Arrow(Arrow::Right));
        }
        if self.take_if('-') {
            if self.take_if('@') {
                return Err(wrong(start, TAIL_AND_CIRCLE));
            }
            return Ok(Token::Arrow(Arrow::Undirected));
        }
        match self.peek() {
            Some(next) if next.is_ascii_digit() || next == '.' => Ok(self.word('-')),
            _ => Err(wrong(
                start,
                "'-' alone is no edge; write '->', '<-' or '<->'",
            )),
        }
    }

    fn less(&mut self, start: Position) -> Result<Token, LabError> {
        if !self.take_if('-') {
            return Err(wrong(
                start,
                "'<' starts no edge here; HTML-like labels are not read",
            ));
        }
        Ok(Token::Arrow(if self.take_if('>') {
            Arrow::Both
        } else if self.take_if('@') {
            Arrow::CircleLeft
        } else {
            Arrow::Left
        }))
    }

    fn circle(&mut self, start: Position) -> Result<Token, LabError> {
        if !self.take_if('-') {
            return Err(wrong(start, "'@' starts '@->' or '@-@'"));
        }
        if self.take_if('>') {
            return Ok(Token::Arrow(Arrow::CircleRight));
        }
        if self.take_if('@') {
            return Ok(Token::Arrow(Arrow::Circles));
        }
        Err(wrong(start, TAIL_AND_CIRCLE))
    }
}

/// Such an edge stands in a graph under selection, which nothing here reads.
const TAIL_AND_CIRCLE: &str = "an edge with a tail and an open end is not read";

fn in_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '.'
}

/// All tokens of the text, an `End` last.
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, Position)>, LabError> {
    let mut scanner = Scanner::new(text);
    let mut found = Vec::new();
    loop {
        let at = scanner.at;
        let Some(letter) = scanner.next() else {
            found.push((Token::End, at));
            return Ok(found);
        };
        let token = match letter {
            '{' => Token::Open,
            '}' => Token::Close,
            '[' => Token::OpenBracket,
            ']' => Token::CloseBracket,
            '=' => Token::Equals,
            ',' => Token::Comma,
            ';' => Token::Semicolon,
            ':' => Token::Colon,
            '"' | '\'' => scanner.quoted(at, letter)?,
            '-' => scanner.dash(at)?,
            '<' => scanner.less(at)?,
            '@' => scanner.circle(at)?,
            '#' => {
                scanner.skip_line();
                continue;
            }
            '/' if scanner.take_if('/') => {
                scanner.skip_line();
                continue;
            }
            '/' if scanner.take_if('*') => {
                scanner.skip_block(at)?;
                continue;
            }
            letter if in_word(letter) => scanner.word(letter),
            letter if letter.is_whitespace() || letter == '\u{feff}' => continue,
            letter => return Err(wrong(at, format!("unexpected {letter:?}"))),
        };
        found.push((token, at));
    }
}
