//! The agent's engine: what it does to a cluster. Every story runs twice, on a
//! real API server with controllers and on the sandbox, and both must agree.

mod drift;
mod order;
mod ownership;

use lockstep_e2e::{Flavour, Result};

/// A module of tests for each kind of cluster, from the stories' names.
macro_rules! on_both {
    ($($room:ident :: $story:ident,)+) => {
        mod kubernetes {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $story() -> Result<()> {
                    $room::$story(Flavour::Full).await
                }
            )+
        }
        mod sandbox {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $story() -> Result<()> {
                    $room::$story(Flavour::Sandbox).await
                }
            )+
        }
    };
}

on_both! {
    drift::a_deleted_object_is_put_back_within_seconds,
    drift::what_others_added_is_left_alone_and_what_is_ours_is_put_back,
    drift::a_field_that_is_gone_from_git_is_gone_from_the_object,
    order::a_custom_resource_comes_with_its_definition_in_one_commit,
    order::what_needs_a_namespace_of_the_same_commit_waits_for_it,
    order::a_kind_that_nobody_serves_is_named_and_tried_again,
    order::one_refused_object_does_not_hold_back_the_others,
    ownership::two_assignments_that_claim_one_object_are_told_so_and_do_not_fight,
    ownership::an_object_that_moved_to_another_assignment_is_not_lost,
    ownership::a_secret_shows_in_no_log_and_no_status,
    ownership::workloads_of_every_kind_become_healthy_and_are_pruned,
}
