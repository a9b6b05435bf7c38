//! Makes a [`Query`] of tokens. Nesting and size are bounded, so that no query can exhaust the stack.

use super::lexer::{Token, tokens};
use super::{Comparison, Expr, Field, Intrinsic, Literal, Order, Pattern, Query, Scope, Test, Value, ValueTest};

/// How deep parentheses may be nested.
const MAX_DEPTH: usize = 32;
/// How many conditions a filter, and how many fields a selection may have.
const MAX_ITEMS: usize = 256;
/// Regular expressions in one query: twice what the request log's own query has. Each costs time and memory to compile.
const MAX_PATTERNS: usize = 16;
/// What is said of everything that TraceQL has and this does not.
const SUPPORTED: &str = "supported is one filter { … } with comparisons joined by && and ||, then | select(…), then with (…)";

/// Why a query was refused, and where. The text repeats nothing of the query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TraceQL, at byte {at}: {problem}")]
pub struct SyntaxError {
    at: usize,
    problem: String,
}

impl SyntaxError {
    pub(super) fn new(at: usize, problem: &str) -> Self {
        Self { at, problem: problem.to_owned() }
    }
}

/// Parses a query. An empty one matches everything.
///
/// # Errors
/// Says what is wrong and where; of what is not supported, also what is.
pub fn query(text: &str) -> Result<Query, SyntaxError> {
    let mut parser = Parser::new(text)?;
    if parser.tokens.is_empty() {
        return Ok(Query::everything());
    }
    let filter = parser.filter()?;
    let mut select = Vec::new();
    while parser.takes("|") {
        parser.selection(&mut select)?;
    }
    if parser.takes_word("with") {
        parser.hints()?;
    }
    match parser.peek() {
        None => Ok(Query { filter, select }),
        Some(_) => Err(parser.unsupported("combining filters is not supported")),
    }
}

/// Parses a single field, as the name of a tag is written.
///
/// # Errors
/// If it is no field.
pub fn field(text: &str) -> Result<Field, SyntaxError> {
    let mut parser = Parser::new(text)?;
    let field = parser.field()?;
    match parser.peek() {
        None => Ok(field),
        Some(_) => Err(parser.error("a tag is a single field")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
    items: usize,
}

/// One side of a comparison.
enum Operand {
    Field(Field),
    Literal(Literal),
    Nil,
}

impl Parser {
    fn new(text: &str) -> Result<Self, SyntaxError> {
        let parser = Self { tokens: tokens(text)?, next: 0, end: text.len(), items: 0 };
        let patterns = parser.tokens.iter().filter(|(_, token)| matches!(token, Token::Symbol("=~" | "!~")));
        if patterns.count() > MAX_PATTERNS {
            return Err(parser.error("the query has more than 16 regular expressions"));
        }
        Ok(parser)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    /// An error at the next token.
    fn error(&self, problem: &str) -> SyntaxError {
        SyntaxError::new(self.tokens.get(self.next).map_or(self.end, |(at, _)| *at), problem)
    }

    fn unsupported(&self, problem: &str) -> SyntaxError {
        self.error(&format!("{problem}; {SUPPORTED}"))
    }

    fn takes(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(next)) if *next == symbol);
        self.next += usize::from(found);
        found
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(next)) if next == word);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str, problem: &str) -> Result<(), SyntaxError> {
        if self.takes(symbol) { Ok(()) } else { Err(self.error(problem)) }
    }

    fn count_item(&mut self) -> Result<(), SyntaxError> {
        self.items += 1;
        if self.items > MAX_ITEMS { Err(self.error("the query has more than 256 conditions and fields")) } else { Ok(()) }
    }

    fn filter(&mut self) -> Result<Expr, SyntaxError> {
        if !self.takes("{") {
            return Err(self.unsupported("a query begins with a filter"));
        }
        if self.takes("}") {
            return Ok(Expr::Constant(true));
        }
        let filter = self.conditions(0)?;
        self.expect("}", "the filter must end here with }, or go on with && or ||")?;
        Ok(filter)
    }

    fn conditions(&mut self, depth: usize) -> Result<Expr, SyntaxError> {
        let mut left = self.condition(depth)?;
        loop {
            // Equal precedence, grouped from the left: that is TraceQL's rule, unlike most languages'.
            if self.takes("&&") {
                left = Expr::And(Box::new(left), Box::new(self.condition(depth)?));
            } else if self.takes("||") {
                left = Expr::Or(Box::new(left), Box::new(self.condition(depth)?));
            } else {
                return Ok(left);
            }
        }
    }

    fn condition(&mut self, depth: usize) -> Result<Expr, SyntaxError> {
        self.count_item()?;
        if self.takes("(") {
            if depth == MAX_DEPTH {
                return Err(self.error("parentheses are nested deeper than 32"));
            }
            let inner = self.conditions(depth + 1)?;
            self.expect(")", "a parenthesis must be closed here, or the condition go on with && or ||")?;
            return Ok(inner);
        }
        if matches!(self.peek(), Some(Token::Symbol("!"))) {
            return Err(self.unsupported("negating a condition is not supported, use != or !~"));
        }
        let at = self.next;
        let left = self.operand()?;
        let operator = match self.peek() {
            Some(Token::Symbol(symbol @ ("=" | "!=" | "=~" | "!~" | "<" | "<=" | ">" | ">="))) => *symbol,
            _ => return self.lone(left),
        };
        self.next += 1;
        let right = self.operand()?;
        comparison(left, operator, right).map_err(|problem| {
            self.next = at;
            self.error(&problem)
        })
    }

    /// An operand without an operator: a constant, or a field that must be true.
    fn lone(&self, operand: Operand) -> Result<Expr, SyntaxError> {
        match operand {
            Operand::Literal(Literal::Bool(constant)) => Ok(Expr::Constant(constant)),
            Operand::Field(field @ Field::Attribute(..)) => {
                Ok(Expr::Compare(Comparison { field, test: Test::Is(ValueTest::Equal(Literal::Bool(true))) }))
            }
            _ => Err(self.error("a comparison needs an operator here: = != =~ !~ < <= > >=")),
        }
    }

    fn operand(&mut self) -> Result<Operand, SyntaxError> {
        match self.peek() {
            Some(Token::Literal(literal)) => {
                let literal = literal.clone();
                self.next += 1;
                Ok(Operand::Literal(literal))
            }
            Some(Token::Nil) => {
                self.next += 1;
                Ok(Operand::Nil)
            }
            _ => self.field().map(Operand::Field),
        }
    }

    fn field(&mut self) -> Result<Field, SyntaxError> {
        let field = match self.peek() {
            Some(Token::Attribute(scope, name)) => Field::Attribute(*scope, name.clone()),
            Some(Token::Word(word)) => Field::Intrinsic(Intrinsic::parse(word).ok_or_else(|| {
                self.error(&format!(
                    "this name is not supported; attributes begin with span. or resource., and there are {}",
                    Intrinsic::NAMES.join(", ")
                ))
            })?),
            _ => return Err(self.error("a field must stand here, such as span.name or duration")),
        };
        self.next += 1;
        Ok(field)
    }

    fn selection(&mut self, select: &mut Vec<Field>) -> Result<(), SyntaxError> {
        if !self.takes_word("select") {
            return Err(self.unsupported("this pipeline stage is not supported"));
        }
        self.expect("(", "select needs a list of fields in parentheses")?;
        loop {
            self.count_item()?;
            select.push(self.field()?);
            if !self.takes(",") {
                return self.expect(")", "the list of fields must end here with ), or go on with a comma");
            }
        }
    }

    /// Hints are read and change nothing: answers are always newest first.
    fn hints(&mut self) -> Result<(), SyntaxError> {
        const FORM: &str = "hints have the form with (name=value, name=value)";
        self.expect("(", FORM)?;
        loop {
            self.count_item()?;
            if !matches!(self.peek(), Some(Token::Word(_))) {
                return Err(self.error(FORM));
            }
            self.next += 1;
            self.expect("=", FORM)?;
            if !matches!(self.peek(), Some(Token::Literal(_))) {
                return Err(self.error(FORM));
            }
            self.next += 1;
            if !self.takes(",") {
                return self.expect(")", FORM);
            }
        }
    }
}

/// The condition of two operands and an operator.
fn comparison(left: Operand, operator: &str, right: Operand) -> Result<Expr, String> {
    match (left, right) {
        // Trace ids are often written without their leading zeros.
        (Operand::Field(field @ Field::Intrinsic(Intrinsic::TraceId)), Operand::Literal(Literal::Text(id)))
            if !operator.ends_with('~') =>
        {
            Ok(Expr::Compare(Comparison {
                field,
                test: test(operator, Literal::Text(format!("{:0>32}", id.to_lowercase())), false)?,
            }))
        }
        (Operand::Field(field), Operand::Literal(literal)) => {
            fits(&field, operator, &literal)?;
            Ok(Expr::Compare(Comparison { field, test: test(operator, literal, false)? }))
        }
        (Operand::Literal(literal), Operand::Field(field)) if !operator.ends_with('~') => {
            fits(&field, operator, &literal)?;
            Ok(Expr::Compare(Comparison { field, test: test(operator, literal, true)? }))
        }
        (Operand::Field(field), Operand::Nil) | (Operand::Nil, Operand::Field(field)) => {
            if matches!(field, Field::Intrinsic(_)) {
                return Err("only attributes can be nil".to_owned());
            }
            match operator {
                "=" => Ok(Expr::Compare(Comparison { field, test: Test::Missing })),
                "!=" => Ok(Expr::Compare(Comparison { field, test: Test::Present })),
                _ => Err("nil can be compared with = and != only".to_owned()),
            }
        }
        (Operand::Literal(left), Operand::Literal(right)) => constant(&left, operator, right),
        (Operand::Literal(_), Operand::Field(_)) => Err("a regular expression stands right of its operator".to_owned()),
        (Operand::Field(_), Operand::Field(_)) => Err(format!("comparing two fields is not supported; {SUPPORTED}")),
        (Operand::Nil, _) | (_, Operand::Nil) => Err("nil can be compared with an attribute only".to_owned()),
    }
}

/// Whether an intrinsic, whose type is known, can be compared with the literal. Attributes show their types only at run time.
fn fits(field: &Field, operator: &str, literal: &Literal) -> Result<(), String> {
    let Field::Intrinsic(intrinsic) = field else { return Ok(()) };
    let (fits, wants) = match intrinsic {
        Intrinsic::Kind => (matches!(literal, Literal::Kind(_)), "a kind without quotes, such as server or client"),
        Intrinsic::Status => (matches!(literal, Literal::Status(_)), "a status without quotes: error, ok or unset"),
        Intrinsic::Duration | Intrinsic::TraceDuration => (
            matches!(literal, Literal::Duration(_) | Literal::Int(_) | Literal::Float(_)),
            "a duration without quotes, such as 500ms",
        ),
        Intrinsic::Name
        | Intrinsic::StatusMessage
        | Intrinsic::SpanId
        | Intrinsic::ParentId
        | Intrinsic::TraceId
        | Intrinsic::RootName
        | Intrinsic::RootServiceName => (matches!(literal, Literal::Text(_)), "a text in quotes"),
    };
    let ordered = operator.starts_with(['<', '>']);
    let operator_fits = match literal {
        Literal::Text(_) => true,
        Literal::Kind(_) | Literal::Status(_) | Literal::Bool(_) => !ordered && !operator.ends_with('~'),
        Literal::Int(_) | Literal::Float(_) | Literal::Duration(_) => !operator.ends_with('~'),
    };
    match (fits, operator_fits) {
        (true, true) => Ok(()),
        (true, false) => Err("this operator does not apply to this field".to_owned()),
        (false, _) => Err(format!("this field is compared with {wants}")),
    }
}

fn test(operator: &str, literal: Literal, flipped: bool) -> Result<Test, String> {
    let order = |order: Order, literal| Test::Is(ValueTest::Order(if flipped { order.flipped() } else { order }, literal));
    Ok(match operator {
        "=" => Test::Is(ValueTest::Equal(literal)),
        "!=" => Test::Not(ValueTest::Equal(literal)),
        "<" => order(Order::Less, literal),
        "<=" => order(Order::LessOrEqual, literal),
        ">" => order(Order::Greater, literal),
        ">=" => order(Order::GreaterOrEqual, literal),
        _ => {
            let Literal::Text(expression) = literal else {
                return Err("a regular expression is a text in quotes or backticks".to_owned());
            };
            let pattern = Pattern::new(&expression)
                .ok_or("this is no valid regular expression, or it is too large; RE2's syntax is understood")?;
            if operator == "=~" { Test::Is(ValueTest::Matches(pattern)) } else { Test::Not(ValueTest::Matches(pattern)) }
        }
    })
}

/// The constant that a comparison of two literals is. Numbers of all types compare with each other here.
fn constant(left: &Literal, operator: &str, right: Literal) -> Result<Expr, String> {
    let float = |literal: &Literal| match literal {
        #[expect(clippy::cast_precision_loss, reason = "two written numbers that differ this little are the author's problem")]
        Literal::Int(n) | Literal::Duration(n) => Some(*n as f64),
        Literal::Float(n) => Some(*n),
        _ => None,
    };
    let (value, right) = match (float(left), float(&right)) {
        (Some(left), Some(right)) => (Value::Float(left), Literal::Float(right)),
        _ => (as_value(left), right),
    };
    if value.compare(&right).is_none() {
        return Err("two literals of different types cannot be compared".to_owned());
    }
    let field = Field::Attribute(Scope::Any, String::new());
    Ok(Expr::Constant(Comparison { field, test: test(operator, right, false)? }.matches(&[value])))
}

fn as_value(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Text(text) => Value::Text(text.into()),
        Literal::Int(n) => Value::Int(*n),
        Literal::Float(n) => Value::Float(*n),
        Literal::Duration(ns) => Value::Duration(*ns),
        Literal::Bool(b) => Value::Bool(*b),
        Literal::Status(code) => Value::Status(*code),
        Literal::Kind(code) => Value::Kind(*code),
    }
}
