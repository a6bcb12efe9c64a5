//! The Bayesian Interchange Format 0.15 (Cozman): a discrete network as variables, their parents
//! and their tables. Read for the structure and the tables; `property` lines are passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::build::{GraphLimits, over_limit};
use super::input::EdgeType;
use super::lexer::{Position, Scanner, wrong};
use super::sketch::Sketch;
use crate::LabError;
use crate::control::Control;

/// Numbers of all tables together.
const ENTRIES_MAX: usize = 1_000_000;
/// States of one variable.
const STATES_MAX: usize = 10_000;
/// How far a distribution may be from one: files round to a few digits.
const SUM_TOLERANCE: f64 = 0.02;

/// A discrete Bayesian network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BifNetwork {
    /// Its name; files that have none say `unknown`.
    pub name: String,
    /// In the order of the file.
    pub variables: Vec<BifVariable>,
}

/// A variable of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BifVariable {
    /// Its name.
    pub name: String,
    /// Names of its states.
    pub states: Vec<String>,
    /// Places of its parents among the variables.
    pub parents: Vec<usize>,
    /// Probabilities of the states for each configuration of the parents: the first parent
    /// changes slowest, the variable's own state fastest. Absent if the file has none.
    pub table: Option<Vec<f64>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Mark(char),
    End,
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    ahead: Option<(Token, Position)>,
    network: BifNetwork,
    index: BTreeMap<String, usize>,
    at: Vec<Position>,
    defined: Vec<bool>,
    entries: usize,
}

/// Reads a network; errors say line and column.
pub fn read_bif(text: &str) -> Result<BifNetwork, LabError> {
    let mut reader = Reader {
        scanner: Scanner::new(text),
        ahead: None,
        network: BifNetwork {
            name: "unknown".to_owned(),
            variables: Vec::new(),
        },
        index: BTreeMap::new(),
        at: Vec::new(),
        defined: Vec::new(),
        entries: 0,
    };
    loop {
        let (token, at) = reader.token()?;
        match token {
            Token::End => return Ok(reader.network),
            Token::Mark(';') => {}
            Token::Word(word) if word == "network" => reader.header()?,
            Token::Word(word) if word == "variable" => reader.variable()?,
            Token::Word(word) if word == "probability" => reader.probability()?,
            Token::Word(_) | Token::Mark(_) => {
                return Err(wrong(at, "expected 'network', 'variable' or 'probability'"));
            }
        }
    }
}

impl BifNetwork {
    /// The structure alone.
    pub(crate) fn sketch<'a>(
        &self,
        limits: &GraphLimits,
        control: &'a dyn Control,
    ) -> Result<Sketch<'a>, LabError> {
        let start = Position { line: 1, column: 1 };
        let mut sketch = Sketch::new(*limits, control);
        for variable in &self.variables {
            sketch.fresh_node(&variable.name, start)?;
        }
        for (child, variable) in self.variables.iter().enumerate() {
            for &parent in &variable.parents {
                sketch.edge((parent, child), EdgeType::Directed, start, None)?;
            }
        }
        Ok(sketch)
    }
}

impl Reader<'_> {
    fn token(&mut self) -> Result<(Token, Position), LabError> {
        if let Some(token) = self.ahead.take() {
            return Ok(token);
        }
        loop {
            let at = self.scanner.at;
            let Some(letter) = self.scanner.next() else {
                return Ok((Token::End, at));
            };
            return Ok(match letter {
                '{' | '}' | '(' | ')' | '[' | ']' | ';' | ',' | '|' => (Token::Mark(letter), at),
                '"' => (self.string(at)?, at),
                '/' if self.scanner.take_if('/') => {
                    self.scanner.skip_line();
                    continue;
                }
                '/' if self.scanner.take_if('*') => {
                    self.scanner.skip_block(at)?;
                    continue;
                }
                letter if letter.is_whitespace() || letter == '\u{feff}' => continue,
                letter => {
                    let mut word = String::from(letter);
                    while let Some(next) = self.scanner.peek().filter(|&next| in_word(next)) {
                        word.push(next);
                        self.scanner.next();
                    }
                    (Token::Word(word), at)
                }
            });
        }
    }

    fn string(&mut self, start: Position) -> Result<Token, LabError> {
        let mut text = String::new();
        while let Some(found) = self.scanner.next() {
            if found == '"' {
                return Ok(Token::Word(text));
            }
            text.push(found);
        }
        Err(wrong(start, "this quoted name has no end"))
    }

    fn expect(&mut self, mark: char) -> Result<Position, LabError> {
        let (token, at) = self.token()?;
        if token == Token::Mark(mark) {
            return Ok(at);
        }
        Err(wrong(at, format!("expected '{mark}'")))
    }

    fn word(&mut self, what: &str) -> Result<(String, Position), LabError> {
        match self.token()? {
            (Token::Word(word), at) => Ok((word, at)),
            (Token::Mark(_) | Token::End, at) => Err(wrong(at, format!("expected {what}"))),
        }
    }

    /// The mark if it comes next.
    fn take_if(&mut self, mark: char) -> Result<bool, LabError> {
        let (token, at) = self.token()?;
        let found = token == Token::Mark(mark);
        if !found {
            self.ahead = Some((token, at));
        }
        Ok(found)
    }

    fn skip_statement(&mut self) -> Result<(), LabError> {
        loop {
            match self.token()? {
                (Token::Mark(';'), _) => return Ok(()),
                (Token::Word(_) | Token::Mark(_), _) => {}
                (Token::End, at) => return Err(wrong(at, "the text ends before a ';'")),
            }
        }
    }

    fn header(&mut self) -> Result<(), LabError> {
        self.network.name = self.word("the name of the network")?.0;
        let open = self.expect('{')?;
        while !self.take_if('}')? {
            if let (Token::End, _) = self.peek()? {
                return Err(wrong(open, "this '{' has no '}'"));
            }
            self.skip_statement()?;
        }
        Ok(())
    }

    fn peek(&mut self) -> Result<(Token, Position), LabError> {
        let token = self.token()?;
        self.ahead = Some(token.clone());
        Ok(token)
    }

    fn variable(&mut self) -> Result<(), LabError> {
        let (name, at) = self.word("the name of a variable")?;
        if self.index.contains_key(&name) {
            return Err(wrong(at, format!("the variable '{name}' is given twice")));
        }
        let open = self.expect('{')?;
        let mut states = None;
        while !self.take_if('}')? {
            match self.token()? {
                (Token::Word(word), _) if word == "type" => states = Some(self.states()?),
                (Token::End, _) => return Err(wrong(open, "this '{' has no '}'")),
                (Token::Word(_) | Token::Mark(_), _) => self.skip_statement()?,
            }
        }
        let Some(states) = states else {
            return Err(wrong(at, format!("the variable '{name}' has no type")));
        };
        self.index
            .insert(name.clone(), self.network.variables.len());
        self.network.variables.push(BifVariable {
            name,
            states,
            parents: Vec::new(),
            table: None,
        });
        self.at.push(at);
        self.defined.push(false);
        Ok(())
    }

    /// `discrete [ n ] { a, b };`
    fn states(&mut self) -> Result<Vec<String>, LabError> {
        let (kind, at) = self.word("'discrete'")?;
        if kind != "discrete" {
            return Err(wrong(at, "only discrete variables are read"));
        }
        self.expect('[')?;
        let (count, count_at) = self.word("a number of states")?;
        self.expect(']')?;
        self.expect('{')?;
        let mut states: Vec<String> = Vec::new();
        while !self.take_if('}')? {
            let (state, at) = self.word("the name of a state")?;
            if states.len() >= STATES_MAX {
                return Err(over_limit("graph.states", states.len() + 1, STATES_MAX));
            }
            if states.contains(&state) {
                return Err(wrong(at, format!("the state '{state}' is given twice")));
            }
            states.push(state);
            self.take_if(',')?;
        }
        self.expect(';')?;
        if count.parse() != Ok(states.len()) || states.is_empty() {
            let message = format!("'{count}' states are announced, {} are named", states.len());
            return Err(wrong(count_at, message));
        }
        Ok(states)
    }

    fn known(&mut self, what: &str) -> Result<usize, LabError> {
        let (name, at) = self.word(what)?;
        self.index.get(&name).copied().ok_or_else(|| {
            let names = self.index.keys().map(String::as_str);
            super::sketch::located(super::unknown_node("graph".into(), &name, names), at)
        })
    }

    fn probability(&mut self) -> Result<(), LabError> {
        let start = self.expect('(')?;
        let variable = self.known("the name of a variable")?;
        let mut parents = Vec::new();
        if self.take_if('|')? {
            loop {
                let parent = self.known("the name of a parent")?;
                if parents.contains(&parent) || parent == variable {
                    return Err(wrong(start, "a parent is given twice or is the variable"));
                }
                parents.push(parent);
                if !self.take_if(',')? {
                    break;
                }
            }
        }
        self.expect(')')?;
        if std::mem::replace(&mut self.defined[variable], true) {
            return Err(wrong(start, "the variable has a table already"));
        }
        self.network.variables[variable].parents = parents;
        let table = self.body(variable)?;
        self.network.variables[variable].table = table;
        Ok(())
    }

    /// The size of a variable's table.
    fn room(&mut self, variable: usize) -> Result<usize, LabError> {
        let variables = &self.network.variables;
        let own = &variables[variable];
        let size = own
            .parents
            .iter()
            .try_fold(own.states.len(), |size, &parent| {
                size.checked_mul(variables[parent].states.len())
            });
        let total = size.and_then(|size| size.checked_add(self.entries));
        match (size, total) {
            (Some(size), Some(total)) if total <= ENTRIES_MAX => {
                self.entries = total;
                Ok(size)
            }
            _ => Err(over_limit(
                "graph.tables",
                total.unwrap_or(usize::MAX),
                ENTRIES_MAX,
            )),
        }
    }

    fn body(&mut self, variable: usize) -> Result<Option<Vec<f64>>, LabError> {
        let open = self.expect('{')?;
        let mut table: Option<Vec<f64>> = None;
        while !self.take_if('}')? {
            let (token, at) = self.token()?;
            match token {
                Token::Word(word) if word == "property" => self.skip_statement()?,
                Token::Word(word) if word == "table" => {
                    let size = self.room(variable)?;
                    table = Some(self.whole_table(variable, size, at)?);
                }
                Token::Word(word) if word == "default" => {
                    let own = self.network.variables[variable].states.len();
                    let row = self.numbers(own, at)?;
                    self.fill(variable, &mut table, None, &row)?;
                }
                Token::Mark('(') => {
                    let place = self.configuration(variable, at)?;
                    let own = self.network.variables[variable].states.len();
                    let row = self.numbers(own, at)?;
                    self.fill(variable, &mut table, Some(place), &row)?;
                }
                Token::End => return Err(wrong(open, "this '{' has no '}'")),
                Token::Word(_) | Token::Mark(_) => {
                    return Err(wrong(at, "expected 'table', 'default' or '('"));
                }
            }
        }
        let Some(table) = table else { return Ok(None) };
        let own = self.network.variables[variable].states.len();
        for row in table.chunks_exact(own) {
            let sum: f64 = row.iter().sum();
            // A row that no line gave is not a number.
            if sum.is_nan() || (sum - 1.0).abs() > SUM_TOLERANCE {
                let name = &self.network.variables[variable].name;
                let message =
                    format!("a distribution of '{name}' is missing or does not add up to 1");
                return Err(wrong(open, message));
            }
        }
        Ok(Some(table))
    }

    /// Puts one row in its place, or in every place that has none.
    fn fill(
        &mut self,
        variable: usize,
        table: &mut Option<Vec<f64>>,
        place: Option<usize>,
        row: &[f64],
    ) -> Result<(), LabError> {
        let table = match table {
            Some(table) => table,
            None => table.insert(vec![f64::NAN; self.room(variable)?]),
        };
        for (at, old) in table.chunks_exact_mut(row.len()).enumerate() {
            if place == Some(at) || (place.is_none() && old[0].is_nan()) {
                old.copy_from_slice(row);
            }
        }
        Ok(())
    }

    fn configuration(&mut self, variable: usize, at: Position) -> Result<usize, LabError> {
        let parents = self.network.variables[variable].parents.clone();
        let mut place = 0;
        for (position, &parent) in parents.iter().enumerate() {
            if position > 0 {
                self.expect(',')?;
            }
            let (state, state_at) = self.word("a state of a parent")?;
            let states = &self.network.variables[parent].states;
            let Some(found) = states.iter().position(|known| *known == state) else {
                let name = &self.network.variables[parent].name;
                return Err(wrong(
                    state_at,
                    format!("'{state}' is no state of '{name}'"),
                ));
            };
            place = place * states.len() + found;
        }
        if parents.is_empty() {
            return Err(wrong(at, "a variable without parents has one 'table'"));
        }
        self.expect(')')?;
        Ok(place)
    }

    /// Numbers up to the `;`.
    fn numbers(&mut self, count: usize, at: Position) -> Result<Vec<f64>, LabError> {
        let mut found = Vec::new();
        while !self.take_if(';')? {
            let (word, word_at) = self.word("a probability")?;
            let number = word.parse::<f64>().ok();
            let Some(number) = number.filter(|number| (0.0..=1.0 + 1e-9).contains(number)) else {
                return Err(wrong(word_at, format!("'{word}' is no probability")));
            };
            found.push(number + 0.0);
            if found.len() > count {
                break;
            }
            self.take_if(',')?;
        }
        if found.len() == count {
            return Ok(found);
        }
        Err(wrong(at, format!("expected {count} probabilities")))
    }

    /// `table`: the variable's own state changes slowest, its last parent fastest.
    fn whole_table(
        &mut self,
        variable: usize,
        size: usize,
        at: Position,
    ) -> Result<Vec<f64>, LabError> {
        let listed = self.numbers(size, at)?;
        let own = self.network.variables[variable].states.len();
        let rows = size / own;
        Ok((0..size)
            .map(|place| listed[place % own * rows + place / own])
            .collect())
    }
}

pub(super) fn in_word(letter: char) -> bool {
    !letter.is_whitespace()
        && !matches!(
            letter,
            '{' | '}' | '(' | ')' | '[' | ']' | ';' | ',' | '|' | '"'
        )
}
