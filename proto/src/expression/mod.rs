//! CEL expressions over an object of Kubernetes: compiled and checked by the
//! hub when somebody applies them, evaluated by agents for every event.
//!
//! An expression sees `object`, and `metadata`, `spec` and `status` of it, and
//! nothing else: no clock, no network, no other object. Both ends compile with
//! the same code, so what the hub takes an agent can run. Whoever writes one
//! may write anything: its length, its nesting and the work that it does on
//! one object are bounded here ([`meter`]), and what it does wrong is an error
//! in words that hold no part of the object.

mod check;
mod meter;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::common::types::{CelBool, CelString};
use cel::parser::PrattParser;
use cel::{Context, Env, ExecutionError, Value as CelValue};

pub use value::Scope;

/// Longer expressions are programs.
pub const LONGEST: usize = 1024;
/// Of brackets, calls and operators in one another.
const DEEPEST: u16 = 32;
const MOST_NODES: usize = 1_000;

/// What an expression has to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// True or false.
    Truth,
    /// A string.
    Words,
}

/// Why a text is no expression that we evaluate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CompileError {
    /// Line and column of the text, from 1; none where it is about all of it.
    pub at: Option<(usize, usize)>,
    pub words: String,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.words),
            None => f.write_str(&self.words),
        }
    }
}

/// Why an expression came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The object does not have what is asked of it: very likely not yet.
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    Wrong(String),
}

/// One compiled expression.
pub struct Expression {
    source: Box<str>,
    metered: IdedExpr,
}

impl Expression {
    /// Compiles `source`.
    ///
    /// # Errors
    /// [`CompileError`], for people: it is too long or too deep, not CEL, or
    /// speaks of what there is not.
    pub fn compile(source: &str, gives: Gives) -> Result<Self, CompileError> {
        let whole = |words: String| CompileError { at: None, words };
        if source.len() > LONGEST {
            return Err(whole(format!(
                "is {} bytes long, and {LONGEST} are allowed",
                source.len()
            )));
        }
        if source.trim().is_empty() {
            return Err(whole("is empty".to_owned()));
        }
        let parser = PrattParser::new()
            .max_recursion_depth(DEEPEST)
            .max_expression_node_count(MOST_NODES)
            .error_recovery_limit(1)
            .enable_optional_syntax(true)
            .enable_ident_escape_syntax(true);
        let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse(source)));
        let parsed = parsed.map_err(|_| whole("cannot be parsed".to_owned()))?;
        let parsed = parsed.map_err(|errors| check::syntax(&errors))?;
        check::check(source, &parsed, gives)?;
        Ok(Self {
            source: source.into(),
            metered: meter::metered(parsed),
        })
    }

    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it holds for the object.
    ///
    /// # Errors
    /// [`EvalError`].
    pub fn holds(&self, scope: &Scope<'_>) -> Result<bool, EvalError> {
        self.run(scope, |value| {
            value.downcast_ref::<CelBool>().map(|truth| *truth.inner())
        })?
        .map_err(|found| EvalError::Wrong(format!("gives {found}, not true or false")))
    }

    /// The words that it gives for the object.
    ///
    /// # Errors
    /// [`EvalError`].
    pub fn words(&self, scope: &Scope<'_>) -> Result<String, EvalError> {
        self.run(scope, |value| {
            value
                .downcast_ref::<CelString<'_>>()
                .map(|text| text.inner().to_owned())
        })?
        .map_err(|found| EvalError::Wrong(format!("gives {found}, not a string")))
    }

    /// `Ok(Err(…))` names the type of a result that `read` cannot read.
    fn run<T>(
        &self,
        scope: &Scope<'_>,
        read: impl Fn(&dyn cel::common::value::Val) -> Option<T>,
    ) -> Result<Result<T, String>, EvalError> {
        // The interpreter is somebody else's: a fault of it must not end ours.
        let run = AssertUnwindSafe(|| {
            meter::begin();
            let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
            context.set_variable_resolver(scope);
            let value = CelValue::resolve_val(&self.metered, &context)?;
            Ok(read(&*value).ok_or_else(|| value.get_type().name().to_owned()))
        });
        let done = catch_unwind(run)
            .map_err(|_| EvalError::Wrong("the evaluation broke off".to_owned()))?;
        done.map_err(|error: ExecutionError| in_words(&error))
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    // Most of its functions are not offered: see `check`.
    cel::extensions::strings(&mut env).expect("a fresh environment has no names to collide with");
    meter::declare(&mut env);
    Arc::new(env)
});

/// The error without the values that it was about: they may be secret, or large.
fn in_words(error: &ExecutionError) -> EvalError {
    let wrong = |words: &str| EvalError::Wrong(words.to_owned());
    match error {
        ExecutionError::NoSuchKey(key) => EvalError::Missing(format!("there is no field {key:?}")),
        ExecutionError::IndexOutOfBounds(_) => {
            EvalError::Missing("a list is shorter than its index".to_owned())
        }
        ExecutionError::NoSuchOverload(overload) => EvalError::Wrong(overload.to_string()),
        ExecutionError::UnexpectedType { got, want } => {
            EvalError::Wrong(format!("found {got} where {want} is needed"))
        }
        ExecutionError::UndeclaredReference(name) => {
            EvalError::Wrong(format!("there is no {name:?}"))
        }
        ExecutionError::InternalError(words) if words == meter::TOO_MUCH => wrong(words),
        ExecutionError::InternalError(words) if words == meter::TOO_LONG => wrong(words),
        ExecutionError::FunctionError { function, .. } => {
            EvalError::Wrong(format!("{function} cannot be done with this value"))
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            wrong("divides by zero")
        }
        ExecutionError::Overflow(..) => wrong("a number is too large"),
        ExecutionError::ValuesNotComparable(..) => wrong("compares what cannot be compared"),
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
            EvalError::Wrong(format!("{operator} cannot be done with these values"))
        }
        _ => wrong("cannot be evaluated"),
    }
}
