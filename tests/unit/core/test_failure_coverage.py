"""For every class of failure the test that produces it on purpose, with as much of the real thing as can be.

A row that names a test which is not there, or a class without a row, fails here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tacho_contract.failure import FailureClass

TESTS = Path(__file__).parents[2]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
F = FailureClass
PRODUCED: dict[FailureClass, tuple[str, ...]] = {
    F.ENGINE_NOT_SUPPORTED: (
        "engines/test_transformers.py::test_why_it_does_not_start",
        "unit/runtime/test_refused_start.py::test_program_that_is_not_there",
    ),
    F.MODEL_NOT_FOUND: (
        "e2e/test_hub.py::test_what_the_hub_does_not_have",
        "unit/hub/test_fetch.py::test_commit_that_is_gone",
    ),
    F.MODEL_INVALID: (
        "e2e/test_bad_input.py::test_models_that_are_not_what_spec_says",
        "unit/runtime/test_real_engine.py::test_truncated_model_is_told_as_such",
        "unit/hub/test_fetch_content.py::test_content_that_stays_wrong_is_refused_and_not_kept",
        "unit/hub/test_fetch_content.py::test_a_file_that_is_shorter_than_listed",
    ),
    F.MODEL_CHANGED: (
        "unit/runtime/test_model_content.py::test_llamacpp_serves_the_planned_model_and_no_other",
        "unit/runtime/test_model_content.py::test_another_model_is_told_with_what_helps",
        "unit/hub/test_fetch.py::test_changed_repository_is_refused",
    ),
    F.AUTH_REQUIRED: (
        "e2e/test_hub.py::test_a_token_opens_the_door_and_stays_with_those_who_need_it",
        "unit/hub/test_fetch.py::test_token_is_wanted",
    ),
    F.HUB_UNREACHABLE: (
        "e2e/test_hub.py::test_a_hub_that_is_away_is_waited_for",
        "e2e/test_hub.py::test_a_download_that_fails_says_why_and_goes_on_when_it_can",
    ),
    F.UNSUPPORTED_QUANTIZATION: (
        "engines/test_missing_package.py::test_a_method_whose_package_is_missing_is_refused_with_what_helps",
        "unit/engines/test_vllm_logs.py::test_the_cause_of_a_failure",
    ),
    F.UNSUPPORTED_GPU: (
        "e2e/test_device_plugin.py::test_a_gpu_that_the_node_counts_and_the_container_does_not_see",
    ),
    F.DOES_NOT_FIT: ("e2e/test_bad_input.py::test_a_model_that_does_not_fit_starts_nothing",),
    F.KV_CACHE_TOO_SMALL: (
        "engines/test_vllm_failures.py::test_a_cache_for_less_than_one_request_says_what_fits",
    ),
    F.GPU_OUT_OF_MEMORY: (
        "unit/engines/test_transformers.py::test_what_an_h200_did_to_an_engine_that_served",
    ),
    F.HOST_OUT_OF_MEMORY: (
        "unit/runtime/test_real_engine.py::test_too_little_memory_to_load",
        "unit/runtime/test_real_engine.py::test_killed_engine_ends_the_container",
    ),
    F.IMAGE_PULL_ERROR: ("e2e/test_bad_input.py::test_an_image_nobody_has",),
    F.UNSCHEDULABLE: ("e2e/test_bad_input.py::test_more_than_any_node_has",),
    F.NO_SPARE_GPU: (
        "api/test_operator_spare.py::test_a_new_revision_waits_for_a_gpu_beside_the_active_one",
    ),
    F.POD_NOT_PREPARED: (
        "unit/core/test_not_prepared.py::test_it_pulls_no_image_and_is_told_after_eight_minutes",
    ),
    F.QUOTA_EXCEEDED: ("api/test_operator_platform.py::test_a_quota_is_named_and_its_end_lets_it_go_on",),
    F.ADMISSION_DENIED: (
        "api/test_operator_platform.py::test_a_policy_that_refuses_pods_is_named_and_its_end_noticed",
    ),
    F.ADMISSION_UNAVAILABLE: (
        "unit/core/test_troubles.py::test_a_webhook_that_does_not_answer_is_named_and_awaited",
    ),
    F.NAMESPACE_TERMINATING: ("unit/core/test_problems.py::test_who_refused",),
    F.NAME_CONFLICT: ("e2e/test_bad_input.py::test_somebody_elses_service",),
    F.CACHE_NOT_FOUND: ("e2e/test_bad_input.py::test_a_claim_that_comes_later",),
    F.CACHE_NOT_SHAREABLE: (
        "api/test_operator_claims.py::test_replicas_on_several_nodes_cannot_share_it",
        "api/test_operator_claims.py::test_a_new_revision_cannot_start_beside_the_pod_that_holds_it",
    ),
    F.DISK_FULL: (
        "unit/hub/test_full_disk.py::test_full_on_the_way_and_continued_when_there_is_room",
        "unit/hub/test_full_disk.py::test_too_small_from_the_start",
    ),
    F.ENGINE_CRASHED: (
        "e2e/test_custom.py::test_a_crash_at_the_start_is_told_with_its_last_words",
        "unit/runtime/test_real_engine.py::test_crash_while_serving",
    ),
    F.STARTUP_TIMEOUT: (
        "e2e/test_custom.py::test_an_engine_that_never_serves_runs_out_of_time",
        "unit/runtime/test_real_engine.py::test_hang_in_load_ends_with_the_startup_budget",
    ),
    F.INSPECTION_TIMEOUT: (
        "e2e/test_hub.py::test_an_inspection_that_takes_too_long_is_ended_and_tried_again",
    ),
    F.GPU_FAULT: ("unit/engines/test_transformers.py::test_what_an_h200_did_to_an_engine_that_served",),
    F.NODE_LOST: (
        "e2e/test_node_lost.py::test_a_lost_node_is_told_and_serves_on_once_it_is_back",
        "api/test_operator_platform.py::test_a_lost_node_is_told_and_its_pod_replaced_beside_the_stuck_one",
    ),
    F.EVICTED: ("api/test_operator_platform.py::test_a_drained_pod_is_evicted_and_replaced",),
    F.PORT_IN_USE: ("unit/runtime/test_refused_start.py::test_a_taken_engine_port_is_named",),
    F.QUANTIZATION_NOT_APPLIED: (
        "engines/test_not_applied.py::test_weights_that_were_not_quantized_end_the_start",
    ),
    F.IMPORT_FAILED: (
        "unit/engines/test_import_failures.py::test_the_runtime_reports_it_and_no_retry_is_expected",
    ),
    F.RUNTIME_CHANGED: ("unit/core/test_runtime_image.py::test_another_runtime_is_refused_and_not_injected",),
    F.INVALID_CONFIG: (
        "api/test_operator_invalid.py::test_what_the_api_server_refuses_is_a_condition_with_its_words",
        "unit/runtime/test_real_engine.py::test_argument_the_engine_does_not_know",
    ),
    F.UNREADABLE_SPEC: ("wiring/test_undecided.py::test_a_spec_that_cannot_be_read_is_its_own_condition",),
    F.INTERNAL_ERROR: ("wiring/test_undecided.py::test_a_defect_is_a_condition_of_that_resource_alone",),
    F.PLANNING_FAILED: (
        "wiring/test_plans.py::test_a_plan_past_its_deadline_is_made_again_later",
        "wiring/test_plans.py::test_a_plan_that_ends_the_process_fails_alone",
        "wiring/test_plans.py::test_an_error_of_the_planner_is_a_failure",
    ),
}


def test_every_class_is_produced_on_purpose_somewhere() -> None:
    assert set(FailureClass) <= set(PRODUCED)


@pytest.mark.parametrize("name", PRODUCED)
def test_the_tests_that_produce_it_are_there(name: FailureClass) -> None:
    for where in PRODUCED[name]:
        path, _, test = where.partition("::")
        module = ast.parse((TESTS / path).read_text())
        assert test in {node.name for node in module.body if isinstance(node, FUNCTIONS)}, where
