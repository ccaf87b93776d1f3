//! The object as CEL sees it: strings are borrowed, everything else is built
//! once for all expressions of a rule.

use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use serde_json::{Map, Number, Value};

use super::EvalError;
use super::check::VARIABLES;

/// Values in one object: a hundred times what a large status has.
const MOST_VALUES: usize = 50_000;
/// Bytes of all strings of one object.
const MOST_TEXT: usize = 512 << 10;

/// One object, ready for any number of expressions.
pub struct Scope<'a> {
    object: Box<dyn Val + 'a>,
    nothing: Box<dyn Val + 'a>,
}

impl<'a> Scope<'a> {
    /// # Errors
    /// [`EvalError::Wrong`], where the object is too large to be looked at for
    /// every event.
    pub fn new(object: &'a Value) -> Result<Self, EvalError> {
        let (mut values, mut text) = (0, 0);
        let fits = measure(object, &mut values, &mut text);
        if !fits {
            return Err(EvalError::Wrong(format!(
                "the object is too large for an expression: {MOST_VALUES} values and \
                 {} KiB of text are allowed",
                MOST_TEXT >> 10
            )));
        }
        Ok(Self {
            object: build(object),
            nothing: Box::new(CelMap::from(HashMap::new())),
        })
    }
}

impl VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if !VARIABLES.contains(&variable) {
            return None;
        }
        if variable == "object" {
            return Some(CowVal::Borrowed(&*self.object));
        }
        let part = self
            .object
            .downcast_ref::<CelMap<'_>>()
            .and_then(|object| object.inner().get(&CelMapKey::from(variable.to_owned())));
        // A fresh object has no status: what is asked of it is missing, and
        // it is no mistake to ask.
        Some(CowVal::Borrowed(&**part.unwrap_or(&self.nothing)))
    }
}

/// False once there is too much.
fn measure(value: &Value, values: &mut usize, text: &mut usize) -> bool {
    *values += 1;
    if *values > MOST_VALUES || *text > MOST_TEXT {
        return false;
    }
    match value {
        Value::String(string) => {
            *text += string.len();
            *text <= MOST_TEXT
        }
        Value::Array(list) => list.iter().all(|item| measure(item, values, text)),
        Value::Object(map) => map.iter().all(|(key, item)| {
            *text += key.len();
            measure(item, values, text)
        }),
        _ => true,
    }
}

fn build(value: &Value) -> Box<dyn Val + '_> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        Value::Number(number) => self::number(number),
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(build).collect();
            Box::new(CelList::from(items))
        }
        Value::Object(fields) => Box::new(map(fields)),
    }
}

fn map(fields: &Map<String, Value>) -> CelMap<'_> {
    let fields: HashMap<CelMapKey<'_>, Box<dyn Val + '_>> = fields
        .iter()
        .map(|(key, value)| (CelMapKey::from(key.as_str()), build(value)))
        .collect();
    CelMap::from(fields)
}

fn number<'a>(number: &Number) -> Box<dyn Val + 'a> {
    if let Some(int) = number.as_i64() {
        Box::new(CelInt::from(int))
    } else if let Some(uint) = number.as_u64() {
        Box::new(CelUInt::from(uint))
    } else {
        Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN)))
    }
}
