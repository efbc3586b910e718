//! Enough of PromQL to say what an expression reads: metrics, their matchers, the function around them.
//!
//! Not a parser: precedence and types are promtool's business (`scripts/check-deploy.sh`). What is not understood is a
//! fault and never passed over.

use std::iter::Peekable;
use std::vec::IntoIter;

const AGGREGATIONS: [&str; 6] = ["sum", "min", "max", "avg", "count", "topk"];
const FUNCTIONS: [&str; 12] = [
    "rate",
    "irate",
    "increase",
    "resets",
    "changes",
    "delta",
    "avg_over_time",
    "max_over_time",
    "min_over_time",
    "histogram_quantile",
    "label_values",
    "time",
];
const OPERATORS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];
const MATCHING: [&str; 4] = ["on", "ignoring", "group_left", "group_right"];

#[derive(Debug, PartialEq)]
pub struct Matcher {
    pub label: String,
    pub operator: String,
    pub value: String,
}

/// One selector of an expression.
#[derive(Debug, PartialEq)]
pub struct Use {
    pub metric: String,
    pub matchers: Vec<Matcher>,
    pub has_range: bool,
    /// Functions and aggregations around it, the innermost last, each with the labels that it keeps (`by`).
    pub inside: Vec<(String, Vec<String>)>,
}

/// What an expression reads.
#[derive(Debug, Default, PartialEq)]
pub struct Reads {
    pub uses: Vec<Use>,
    /// Labels that it groups or matches by, and those that `label_values` asks for.
    pub labels: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Range,
    Number,
    Sign(String),
}

pub fn read(expression: &str) -> Result<Reads, String> {
    let mut tokens = tokens(expression)?.into_iter().peekable();
    let mut reads = Reads::default();
    let mut inside: Vec<(String, Vec<String>)> = Vec::new();
    let mut call: Option<(String, Vec<String>)> = None;
    while let Some(token) = tokens.next() {
        match token {
            Token::Sign(sign) if sign == "(" => inside.push(call.take().unwrap_or_default()),
            Token::Sign(sign) if sign == ")" => {
                inside.pop().ok_or("a parenthesis too many")?;
            }
            Token::Sign(sign) if sign == "," || is_arithmetic(&sign) => {}
            Token::Number | Token::Text(_) => {}
            Token::Word(word) if AGGREGATIONS.contains(&&*word) => call = Some((word, Vec::new())),
            Token::Word(word) if word == "by" => {
                let (_, kept) = call.as_mut().ok_or("`by` goes before the parenthesis")?;
                *kept = labels(&mut tokens)?;
                reads.labels.extend(kept.iter().cloned());
            }
            Token::Word(word) if MATCHING.contains(&&*word) => reads.labels.extend(labels(&mut tokens)?),
            Token::Word(word) if OPERATORS.contains(&&*word) => {}
            Token::Word(word) if next_is(&mut tokens, "(") => {
                if !FUNCTIONS.contains(&&*word) {
                    return Err(format!("{word}() is not known here"));
                }
                call = Some((word, Vec::new()));
            }
            // label_values(selector, label) of a dashboard's variables.
            Token::Word(word)
                if inside.last().is_some_and(|call| call.0 == "label_values")
                    && next_is(&mut tokens, ")") =>
            {
                reads.labels.push(word);
            }
            Token::Word(metric) => {
                let matchers = if next_is(&mut tokens, "{") { matchers(&mut tokens)? } else { Vec::new() };
                let has_range = tokens.next_if_eq(&Token::Range).is_some();
                reads.uses.push(Use { metric, matchers, has_range, inside: inside.clone() });
            }
            other => return Err(format!("{other:?} is not expected here")),
        }
    }
    match inside.is_empty() && call.is_none() {
        true => Ok(reads),
        false => Err("it ends inside a call".into()),
    }
}

type Tokens = Peekable<IntoIter<Token>>;

fn is_arithmetic(sign: &str) -> bool {
    ["+", "-", "*", "/", ">", "<", ">=", "<=", "==", "!="].contains(&sign)
}

fn next_is(tokens: &mut Tokens, sign: &str) -> bool {
    matches!(tokens.peek(), Some(Token::Sign(next)) if next == sign)
}

/// `(label, label)`.
fn labels(tokens: &mut Tokens) -> Result<Vec<String>, String> {
    let mut labels = Vec::new();
    match tokens.next() {
        Some(Token::Sign(sign)) if sign == "(" => {}
        other => return Err(format!("{other:?} where labels are due")),
    }
    for token in tokens {
        match token {
            Token::Word(label) => labels.push(label),
            Token::Sign(sign) if sign == "," => {}
            Token::Sign(sign) if sign == ")" => return Ok(labels),
            other => return Err(format!("{other:?} among labels")),
        }
    }
    Err("labels without an end".into())
}

/// `{label="value", ...}`.
fn matchers(tokens: &mut Tokens) -> Result<Vec<Matcher>, String> {
    let mut matchers = Vec::new();
    tokens.next();
    loop {
        match (tokens.next(), tokens.next(), tokens.next()) {
            (Some(Token::Word(label)), Some(Token::Sign(operator)), Some(Token::Text(value)))
                if ["=", "!=", "=~", "!~"].contains(&&*operator) =>
            {
                matchers.push(Matcher { label, operator, value });
            }
            other => return Err(format!("{other:?} where a matcher is due")),
        }
        match tokens.next() {
            Some(Token::Sign(sign)) if sign == "," => {}
            Some(Token::Sign(sign)) if sign == "}" => return Ok(matchers),
            other => return Err(format!("{other:?} after a matcher")),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let while_all = |is: fn(char) -> bool| rest.find(|c| !is(c)).unwrap_or(rest.len());
        let (token, length) = match first {
            '"' => {
                let end = rest[1..].find('"').ok_or("a string without an end")?;
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            '[' => (Token::Range, rest.find(']').ok_or("a range without an end")? + 1),
            c if c.is_ascii_digit() => (Token::Number, while_all(|c| c.is_ascii_alphanumeric() || c == '.')),
            c if c.is_ascii_alphabetic() || c == '_' => {
                let end = while_all(|c| c.is_ascii_alphanumeric() || "_:".contains(c));
                (Token::Word(rest[..end].to_owned()), end)
            }
            _ => {
                let two = rest.get(..2).filter(|two| ["=~", "!~", "!=", "==", ">=", "<="].contains(two));
                let sign = two.unwrap_or(&rest[..first.len_utf8()]);
                (Token::Sign(sign.to_owned()), sign.len())
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

#[test]
fn expressions_are_taken_apart() {
    let one = |text: &str| read(text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
    let sum = one(r#"histogram_quantile(0.9, sum by (le, job) (rate(a_bucket{x="y",z=~"1|2"}[5m]))) > 1e3"#);
    let [used] = &sum.uses[..] else { panic!("{sum:?}") };
    assert_eq!((used.metric.as_str(), used.has_range), ("a_bucket", true));
    assert_eq!(used.matchers[1], Matcher { label: "z".into(), operator: "=~".into(), value: "1|2".into() });
    let around: Vec<_> = used.inside.iter().map(|(name, kept)| (name.as_str(), kept.len())).collect();
    assert_eq!(around, [("histogram_quantile", 0), ("sum", 2), ("rate", 0)]);
    assert_eq!(sum.labels, ["le", "job"]);

    let names = |text: &str| one(text).uses.into_iter().map(|u| u.metric).collect::<Vec<_>>().join(" ");
    assert_eq!(names("(a > 0) unless (time() - b < 60)"), "a b");
    assert_eq!(names("a / ignoring (x) b or c{d!=\"e\"} >= on () group_left (f) g"), "a b c g");
    assert_eq!(one("label_values(a{b=\"c\"}, d)").labels, ["d"]);

    for wrong in
        ["rat(a[5m])", "sum(a", "a)", "sum(a) by (b)", "a{b}", "a{b=c}", "a{b==\"c\"}", "a & b", "sum"]
    {
        assert!(read(wrong).is_err(), "{wrong}: {:?}", read(wrong));
    }
}
