//! Planning a step and what can be told from its plan. Only what reads `input`, changes nothing and gives the same
//! rows each time is let through, since a window that is run again must come out the same.

use std::sync::Arc;

use datafusion::{
    catalog::TableProvider,
    common::{
        Column,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::DataFusionError,
    execution::context::SessionContext,
    logical_expr::{Expr, LogicalPlan, Volatility},
};
use windrow_common::error;

use super::{INPUT, fault};
use crate::error::{Result, WorkerError};

/// The plan of a step over a table; refused with `BAD_SQL` if it is not a plain, repeatable SELECT.
pub(super) async fn plan(context: &SessionContext, sql: &str, table: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    context.register_table(INPUT, table).map_err(|cause| fault::planning(&cause))?;
    let plan = context.state().create_logical_plan(sql).await.map_err(|cause| fault::planning(&cause))?;
    let mut reads = 0;
    let mut refusal = None;
    let walked = plan.apply_with_subqueries(|node| {
        refusal = refused_node(node, &mut reads).or_else(|| refused_expression(node));
        Ok(if refusal.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walked.map_err(|cause| fault::planning(&cause))?;
    match (refusal, reads) {
        (Some(refusal), _) => Err(refusal),
        (None, 1) => Ok(plan),
        (None, 0) => Err(bad("the step does not read the table `input`", "write SELECT .. FROM input")),
        (None, _) => Err(bad(
            "the step reads the table `input` more than once, and a stream flows only once",
            "use window functions or several steps instead of joining `input` with itself",
        )),
    }
}

fn bad(message: impl Into<String>, fix: &str) -> WorkerError {
    WorkerError::never(error::BAD_SQL, message).fix(fix)
}

fn refused_node(node: &LogicalPlan, reads: &mut usize) -> Option<WorkerError> {
    let only_select = "a step is one SELECT over the table `input`";
    match node {
        LogicalPlan::TableScan(scan) if scan.table_name.table() == INPUT => {
            *reads += 1;
            None
        }
        LogicalPlan::TableScan(scan) => Some(bad(format!("there is no table {}", scan.table_name), only_select)),
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Unnest(_) => None,
        LogicalPlan::RecursiveQuery(_) => Some(bad("a recursive query may never end", "write it without RECURSIVE")),
        _ => Some(bad("the step is no SELECT", only_select)),
    }
}

/// Refuses functions whose result is not given by their arguments.
fn refused_expression(node: &LogicalPlan) -> Option<WorkerError> {
    let mut refusal = None;
    let walked = node.apply_expressions(|expression| {
        expression.apply(|part| {
            refusal = refused_part(part);
            Ok(if refusal.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    });
    match walked {
        Ok(_) => refusal,
        Err(cause) => Some(fault::planning(&cause)),
    }
}

fn refused_part(part: &Expr) -> Option<WorkerError> {
    let (name, volatility) = match part {
        Expr::ScalarFunction(call) => (call.func.name(), call.func.signature().volatility),
        Expr::AggregateFunction(call) => (call.func.name(), call.func.signature().volatility),
        Expr::WindowFunction(call) => (call.fun.name(), call.fun.signature().volatility),
        Expr::Placeholder(_) | Expr::ScalarVariable(..) => {
            return Some(bad("a step has no parameters or variables", "write the value itself"));
        }
        _ => return None,
    };
    (volatility != Volatility::Immutable).then(|| {
        bad(
            format!("{name}() gives another result each time, so a window run again would come out different"),
            "compute it from the row's own columns",
        )
    })
}

/// Whether every row is made of one input row alone.
pub(super) fn is_row_wise(plan: &LogicalPlan) -> bool {
    let mut row_wise = true;
    let walked = plan.apply(|node| {
        row_wise = match node {
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => !holds_subquery(node),
            LogicalPlan::SubqueryAlias(_) | LogicalPlan::TableScan(_) => true,
            _ => false,
        };
        Ok(if row_wise { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.is_ok() && row_wise
}

fn holds_subquery(node: &LogicalPlan) -> bool {
    let mut holds = false;
    let walked: Result<_, DataFusionError> = node.apply_expressions(|expression| {
        holds |= expression.exists(|part| {
            Ok(matches!(part, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_)))
        })?;
        Ok(TreeNodeRecursion::Continue)
    });
    holds || walked.is_err()
}

/// The column of `input` that an output column is, unchanged; `None` if it is anything else.
pub(super) fn origin(plan: &LogicalPlan, name: &str) -> Option<String> {
    let field = plan.schema().index_of_column_by_name(None, name)?;
    origin_at(plan, field)
}

fn origin_at(plan: &LogicalPlan, field: usize) -> Option<String> {
    match plan {
        LogicalPlan::TableScan(scan) => Some(scan.projected_schema.field(field).name().clone()),
        LogicalPlan::Projection(projection) => {
            let column = bare_column(projection.expr.get(field)?)?;
            origin_at(&projection.input, projection.input.schema().maybe_index_of_column(column)?)
        }
        LogicalPlan::Aggregate(aggregate) => {
            let column = bare_column(aggregate.group_expr.get(field)?)?;
            origin_at(&aggregate.input, aggregate.input.schema().maybe_index_of_column(column)?)
        }
        LogicalPlan::Filter(filter) => origin_at(&filter.input, field),
        LogicalPlan::SubqueryAlias(alias) => origin_at(&alias.input, field),
        LogicalPlan::Sort(sort) => origin_at(&sort.input, field),
        LogicalPlan::Limit(limit) => origin_at(&limit.input, field),
        _ => None,
    }
}

fn bare_column(expression: &Expr) -> Option<&Column> {
    match expression {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => bare_column(&alias.expr),
        _ => None,
    }
}
