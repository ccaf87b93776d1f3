//! What can be known to be wrong before an expression meets an object.

use cel::ParseErrors;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::{CompileError, Gives};

/// Levels of the tree: the interpreter takes some stack for each.
const DEEPEST: usize = 64;
pub(super) const VARIABLES: [&str; 4] = ["object", "metadata", "spec", "status"];

/// Words that stand for themselves, as in `type(x) == string`.
const TYPES: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "dyn",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];

/// Functions, and with how many arguments beside the target they are called.
/// Left out is what can make much out of little (`replace`, `format`, `split`).
const METHODS: &[(&str, &[usize])] = &[
    ("charAt", &[1]),
    ("contains", &[1]),
    ("endsWith", &[1]),
    ("hasValue", &[0]),
    ("indexOf", &[1, 2]),
    ("join", &[0, 1]),
    ("lastIndexOf", &[1, 2]),
    ("lowerAscii", &[0]),
    ("matches", &[1]),
    ("or", &[1]),
    ("orValue", &[1]),
    ("size", &[0]),
    ("startsWith", &[1]),
    ("substring", &[1, 2]),
    ("trim", &[0]),
    ("upperAscii", &[0]),
    ("value", &[0]),
];
const FUNCTIONS: &[(&str, &[usize])] = &[
    ("bool", &[1]),
    ("double", &[1]),
    ("dyn", &[1]),
    ("int", &[1]),
    ("size", &[1]),
    ("string", &[1]),
    ("type", &[1]),
    ("uint", &[1]),
];
const OPTIONAL: &[(&str, &[usize])] = &[("none", &[0]), ("of", &[1]), ("ofNonZeroValue", &[1])];
/// They take a name and a condition, and are gone from the tree when they do.
const MACROS: &[&str] = &["all", "exists", "exists_one", "filter", "has", "map"];

/// The first thing that the parser did not like.
pub(super) fn syntax(errors: &ParseErrors) -> CompileError {
    let place = |n: isize| usize::try_from(n).ok().filter(|n| *n > 0);
    let placed = errors.errors.iter().find(|error| error.pos.0 > 0);
    let Some(first) = placed.or(errors.errors.first()) else {
        return CompileError {
            at: None,
            words: "is no CEL expression".to_owned(),
        };
    };
    CompileError {
        at: place(first.pos.0).zip(place(first.pos.1)),
        words: first.msg.trim_start_matches("Syntax error: ").to_owned(),
    }
}

/// Whether `expr` speaks of what there is, and may give what is asked.
pub(super) fn check(source: &str, expr: &IdedExpr, gives: Gives) -> Result<(), CompileError> {
    let mut checker = Checker {
        source,
        bound: Vec::new(),
        depth: 0,
    };
    checker.look(expr)?;
    if let Some(found) = surely(&expr.expr, gives) {
        let wanted = match gives {
            Gives::Truth => "true or false",
            Gives::Words => "a string",
        };
        return Err(CompileError {
            at: Some((1, 1)),
            words: format!("gives {found}, and has to give {wanted}"),
        });
    }
    Ok(())
}

/// What `expr` gives, where that is certain and not what it has to give.
fn surely(expr: &Expr, gives: Gives) -> Option<&'static str> {
    let found = match expr {
        Expr::Literal(LiteralValue::Boolean(_)) => "true or false",
        Expr::Literal(LiteralValue::String(_)) => "a string",
        Expr::Literal(LiteralValue::Null) => "null",
        Expr::Literal(LiteralValue::Bytes(_)) => "bytes",
        Expr::Literal(_) => "a number",
        Expr::List(_) => "a list",
        Expr::Map(_) => "a map",
        Expr::Select(select) if select.test => "true or false",
        Expr::Call(call) => match call.func_name.as_str() {
            operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::EQUALS
            | operators::NOT_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::IN
            | "contains"
            | "endsWith"
            | "startsWith"
            | "matches"
            | "hasValue"
            | "bool" => "true or false",
            operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::NEGATE
            | "size"
            | "int"
            | "uint"
            | "double"
            | "indexOf"
            | "lastIndexOf" => "a number",
            "string" | "join" | "lowerAscii" | "upperAscii" | "trim" | "substring" => "a string",
            operators::CONDITIONAL => {
                return call
                    .args
                    .iter()
                    .skip(1)
                    .find_map(|arg| surely(&arg.expr, gives));
            }
            _ => return None,
        },
        _ => return None,
    };
    let right = match gives {
        Gives::Truth => "true or false",
        Gives::Words => "a string",
    };
    (found != right).then_some(found)
}

struct Checker<'a> {
    source: &'a str,
    /// Names that loops around here have bound.
    bound: Vec<&'a str>,
    depth: usize,
}

impl<'a> Checker<'a> {
    fn look<'e: 'a>(&mut self, expr: &'e IdedExpr) -> Result<(), CompileError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error("", "is nested too deeply".to_owned()));
        }
        let seen = self.see(expr);
        self.depth -= 1;
        seen
    }

    fn see<'e: 'a>(&mut self, expr: &'e IdedExpr) -> Result<(), CompileError> {
        match &expr.expr {
            Expr::Ident(name) => self.ident(name),
            Expr::Call(call) => self.call(call),
            Expr::Select(select) => self.look(&select.operand),
            Expr::List(list) => list.elements.iter().try_for_each(|item| self.look(item)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.look(&entry.key)?;
                    self.look(&entry.value)
                }
                EntryExpr::StructField(field) => self.look(&field.value),
            }),
            Expr::Comprehension(loops) => {
                self.look(&loops.iter_range)?;
                self.look(&loops.accu_init)?;
                let bound = self.bound.len();
                self.bound.push(&loops.iter_var);
                self.bound.extend(loops.iter_var2.as_deref());
                self.look(&loops.loop_cond)?;
                self.look(&loops.loop_step)?;
                self.bound.truncate(bound);
                self.look(&loops.result)
            }
            Expr::Struct(of) => Err(self.error(
                &of.type_name,
                format!("there is no type {:?} to make", of.type_name),
            )),
            Expr::Literal(_) => Ok(()),
            Expr::Unspecified => Err(self.error("", "is no CEL expression".to_owned())),
        }
    }

    fn ident(&self, name: &str) -> Result<(), CompileError> {
        let known = name.starts_with('@')
            || VARIABLES.contains(&name)
            || TYPES.contains(&name)
            || self.bound.contains(&name);
        if known {
            return Ok(());
        }
        Err(self.error(
            name,
            format!("there is no {name:?}: an expression sees object, metadata, spec and status"),
        ))
    }

    fn call<'e: 'a>(&mut self, call: &'e CallExpr) -> Result<(), CompileError> {
        let name = call.func_name.as_str();
        let is_operator = !name.starts_with(|c: char| c.is_ascii_alphabetic());
        let mut of_optional = false;
        if let Some(target) = &call.target {
            of_optional = matches!(&target.expr, Expr::Ident(name) if name == "optional");
            if !of_optional {
                self.look(target)?;
            }
        }
        if !is_operator {
            let known = match (&call.target, of_optional) {
                (Some(_), true) => OPTIONAL,
                (Some(_), false) => METHODS,
                (None, _) => FUNCTIONS,
            };
            self.function(name, call.args.len(), known)?;
        }
        call.args.iter().try_for_each(|arg| self.look(arg))
    }

    fn function(
        &self,
        name: &str,
        args: usize,
        known: &[(&str, &[usize])],
    ) -> Result<(), CompileError> {
        let Some((_, counts)) = known.iter().find(|(known, _)| *known == name) else {
            if MACROS.contains(&name) {
                let words = format!(
                    "{name} is called like status.conditions.{name}(c, …), or has(status.phase)"
                );
                return Err(self.error(name, words));
            }
            let elsewhere = [METHODS, FUNCTIONS].into_iter().flatten();
            if elsewhere.into_iter().any(|(known, _)| *known == name) {
                let words = format!("{name} is not called like this: x.{name}(…) or {name}(x)");
                return Err(self.error(name, words));
            }
            let known: Vec<_> = known.iter().map(|(known, _)| *known).collect();
            let words = format!("there is no function {name:?}, only {}", known.join(", "));
            return Err(self.error(name, words));
        };
        if counts.contains(&args) {
            return Ok(());
        }
        let counts: Vec<_> = counts.iter().map(ToString::to_string).collect();
        Err(self.error(
            name,
            format!("{name} takes {} arguments, not {args}", counts.join(" or ")),
        ))
    }

    fn error(&self, name: &str, words: String) -> CompileError {
        CompileError {
            at: place(self.source, name),
            words,
        }
    }
}

/// Line and column of the first `name` in `source` that is a word of its own
/// outside of strings.
fn place(source: &str, name: &str) -> Option<(usize, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut quote = None;
    let mut before = ' ';
    let (mut line, mut column) = (1, 1);
    for (at, c) in source.char_indices() {
        let rest = &source[at..];
        let here = quote.is_none()
            && !is_word(before)
            && rest
                .strip_prefix(name)
                .is_some_and(|after| !after.starts_with(is_word));
        if here && !name.is_empty() {
            return Some((line, column));
        }
        match quote {
            Some(open) if c == open && before != '\\' => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
        if c == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
        before = c;
    }
    None
}
