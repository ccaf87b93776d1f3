//! What an expression may cost. CEL always ends, but loops in loops over a
//! large object end late, and joined strings grow.
//!
//! Before it is run, an expression is rewritten: wherever a value is copied,
//! compared, joined or looped over, it first goes through [`SPEND`], which
//! takes its size off what is left for this run and fails when nothing is. So
//! work and memory stay within a constant times [`BUDGET`], whatever the
//! expression and whatever the object.

use std::cell::Cell;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, operators};
use cel::common::types::{CelList, CelMap, CelOptional, CelString, DYN_TYPE, STRING_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError};

/// Values copied, compared or visited in one run; a few milliseconds of work.
const BUDGET: usize = 100_000;
/// A regular expression is compiled wherever it is used.
const REGEX: usize = 1_000;
/// Bytes of text that weigh as much as one value.
const TEXT: usize = 16;
/// `list.join(separator)` repeats the separator.
const LONGEST_SEPARATOR: usize = 64;

pub(super) const TOO_MUCH: &str = "takes too much work on this object";
pub(super) const TOO_LONG: &str = "joins with a separator of more than 64 bytes";

/// Named so that no expression can call it.
const SPEND: &str = "@spend";
const SPEND_REGEX: &str = "@spend_regex";
const SHORT: &str = "@short";

thread_local! {
    /// Functions of an environment are plain functions: what a run has left
    /// lies beside it. A run does not leave its thread.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

/// A run begins.
pub(super) fn begin() {
    LEFT.set(BUDGET);
}

pub(super) fn declare(env: &mut Env) {
    let names = "the names are nobody else's";
    env.add_overload(SPEND, SPEND, vec![DYN_TYPE], spend)
        .expect(names);
    env.add_overload(SPEND_REGEX, SPEND_REGEX, vec![DYN_TYPE], spend_regex)
        .expect(names);
    env.add_overload(SHORT, SHORT, vec![STRING_TYPE], short)
        .expect(names);
}

fn spend<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = one(&mut args)?;
    take(1)?;
    weigh(&*value)?;
    Ok(value)
}

fn spend_regex<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = one(&mut args)?;
    take(REGEX)?;
    weigh(&*value)?;
    Ok(value)
}

fn short<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = one(&mut args)?;
    let long = value
        .downcast_ref::<CelString<'_>>()
        .is_some_and(|text| text.inner().len() > LONGEST_SEPARATOR);
    if long {
        return Err(ExecutionError::InternalError(TOO_LONG.to_owned()));
    }
    Ok(value)
}

fn one<'b, 'v>(args: &mut Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    args.pop().ok_or(ExecutionError::MissingArgumentOrTarget)
}

fn take(cost: usize) -> Result<(), ExecutionError> {
    let left = LEFT.get();
    LEFT.set(left.saturating_sub(cost));
    if left < cost {
        return Err(ExecutionError::InternalError(TOO_MUCH.to_owned()));
    }
    Ok(())
}

/// Takes the size of `value`, all of it; stops looking when nothing is left.
fn weigh(value: &dyn Val) -> Result<(), ExecutionError> {
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        return take(text.inner().len() / TEXT);
    }
    if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        take(list.inner().len())?;
        return list.inner().iter().try_for_each(|item| weigh(&**item));
    }
    if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        take(map.inner().len())?;
        return map.inner().values().try_for_each(|item| weigh(&**item));
    }
    if let Some(inner) = value
        .downcast_ref::<CelOptional<'_>>()
        .and_then(CelOptional::inner)
    {
        return weigh(inner);
    }
    Ok(())
}

/// `expr` with every place that costs something metered.
pub(super) fn metered(expr: IdedExpr) -> IdedExpr {
    let IdedExpr { id, expr } = expr;
    let expr = match expr {
        Expr::Call(call) => self::call(call),
        Expr::Select(mut select) => {
            select.operand = Box::new(metered(*select.operand));
            Expr::Select(select)
        }
        Expr::List(mut list) => {
            list.elements = list.elements.into_iter().map(paid).collect();
            Expr::List(list)
        }
        Expr::Map(mut map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    entry.key = paid(std::mem::take(&mut entry.key));
                    entry.value = paid(std::mem::take(&mut entry.value));
                }
            }
            Expr::Map(map)
        }
        Expr::Comprehension(mut comprehension) => {
            let loops = &mut *comprehension;
            // Each element is copied once: the whole is paid for up front.
            loops.iter_range = paid(std::mem::take(&mut loops.iter_range));
            loops.accu_init = metered(std::mem::take(&mut loops.accu_init));
            loops.loop_cond = metered(std::mem::take(&mut loops.loop_cond));
            loops.loop_step = metered(std::mem::take(&mut loops.loop_step));
            loops.result = metered(std::mem::take(&mut loops.result));
            Expr::Comprehension(comprehension)
        }
        plain => plain,
    };
    IdedExpr { id, expr }
}

fn call(mut call: CallExpr) -> Expr {
    match call.func_name.as_str() {
        // These look at one value, or hand one on, without copying it.
        operators::LOGICAL_AND
        | operators::LOGICAL_OR
        | operators::LOGICAL_NOT
        | operators::NOT_STRICTLY_FALSE
        | operators::CONDITIONAL
        | operators::INDEX
        | "type" => call.args = call.args.into_iter().map(metered).collect(),
        "matches" => {
            call.target = call
                .target
                .map(|target| Box::new(paid_with(SPEND_REGEX, *target)));
            call.args = call.args.into_iter().map(paid).collect();
        }
        "join" => {
            call.target = call.target.map(|target| Box::new(paid(*target)));
            let args = call.args.into_iter();
            call.args = args.map(|arg| paid_with(SHORT, arg)).collect();
        }
        _ => {
            if let Some(target) = call.target {
                // `optional` in `optional.of(x)` is part of the name.
                let named = matches!(&target.expr, Expr::Ident(name) if name == "optional");
                let target = if named { *target } else { paid(*target) };
                call.target = Some(Box::new(target));
            }
            call.args = call.args.into_iter().map(paid).collect();
        }
    }
    Expr::Call(call)
}

fn paid(expr: IdedExpr) -> IdedExpr {
    paid_with(SPEND, expr)
}

fn paid_with(function: &str, expr: IdedExpr) -> IdedExpr {
    // What a loop has gathered so far is appended to in place, as long as the
    // interpreter sees it stand there alone.
    if matches!(&expr.expr, Expr::Ident(name) if name.starts_with('@')) {
        return expr;
    }
    IdedExpr {
        id: expr.id,
        expr: Expr::Call(CallExpr {
            func_name: function.to_owned(),
            target: None,
            args: vec![metered(expr)],
        }),
    }
}
