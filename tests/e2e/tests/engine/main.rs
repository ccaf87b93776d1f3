//! The agent's engine on its own: no hub, no Git, the desired state handed to
//! it. Every story runs on a real API server and on the sandbox, and both must
//! agree.

mod drift;
mod faults;
mod judging;
mod order;
mod outages;
mod owners;
mod proportion;
mod shapes;
mod strangers;
mod versions;
mod world;

use anyhow::Result;
use world::Flavour;

macro_rules! on {
    ($cluster:ident, $flavour:expr, $($room:ident :: $story:ident,)+) => {
        mod $cluster {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $story() -> Result<()> {
                    $room::$story($flavour).await
                }
            )+
        }
    };
}

macro_rules! on_both {
    ($($room:ident :: $story:ident,)+) => {
        on! { kubernetes, Flavour::Api, $($room::$story,)+ }
        on! { sandbox, Flavour::Sandbox, $($room::$story,)+ }
    };
}

on_both! {
    proportion::one_changed_object_of_a_thousand_is_one_apply_request,
    proportion::an_idle_agent_makes_no_request,
    proportion::two_hundred_assignments_on_one_cluster,
    strangers::a_deleted_object_is_back_within_a_tenth_of_a_second,
    strangers::a_changed_field_is_put_back_and_others_stay,
    strangers::a_label_taken_away_is_put_back,
    strangers::scaling_by_hand_is_undone_and_an_autoscaler_is_left_alone,
    strangers::defaults_and_status_are_not_drift,
    strangers::an_object_with_a_finalizer_is_named_while_it_goes,
    order::definitions_come_before_their_objects_and_go_after_them,
    order::an_immutable_field_is_named,
    order::a_definition_deleted_by_hand_comes_back_with_its_objects,
    order::one_document_in_each_kind_that_people_commit,
    judging::a_kind_that_nobody_knows_is_judged_by_the_assignments_expressions,
    judging::a_claim_that_waits_for_its_first_consumer_is_healthy,
    judging::what_is_not_ready_in_time_is_degraded_and_says_why,
    shapes::five_thousand_objects_in_one_assignment,
    shapes::five_hundred_assignments_on_one_cluster,
    shapes::an_object_of_nine_hundred_kilobytes,
    shapes::objects_of_the_cluster_and_of_many_namespaces_at_once,
    versions::every_version_by_what_its_discovery_says,
    owners::what_was_there_is_adopted_as_it_is_unless_somebody_owns_it,
    owners::a_namespace_stays_unless_its_kind_may_be_pruned,
    owners::a_first_apply_of_a_thousand_asks_a_handful_of_times,
    drift::who_changed_which_field_is_told_and_put_back,
    drift::an_autoscaler_keeps_what_is_ignored,
    drift::reported_drift_is_left,
    drift::nothing_that_others_add_is_drift,
    faults::a_definition_deleted_under_live_objects_comes_back,
    faults::a_namespace_stuck_in_deletion_is_named_and_made_again,
}

on! {
    kubernetes_only,
    Flavour::Api,
    outages::the_api_server_dies_in_the_middle_of_an_apply,
    outages::the_api_server_is_away_while_objects_are_deleted,
    owners::writes_need_the_rights_of_the_account_and_no_others,
    owners::fields_that_cannot_change_are_named_and_replaced_where_the_object_asks,
    owners::a_secrets_content_is_in_no_failure,
}

on! {
    with_controllers,
    Flavour::Full,
    owners::a_statefulset_is_made_anew_when_its_pods_are_gone,
}

on! {
    sandbox_only,
    Flavour::Sandbox,
    faults::whatever_the_api_server_answers_all_lands,
    faults::a_webhook_that_refuses_one_of_twenty_is_named_and_nineteen_land,
    faults::rights_withdrawn_in_the_middle_are_said_and_taken_up_again,
    faults::watches_that_expire_miss_nothing,
}
