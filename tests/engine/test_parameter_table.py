"""Which tests prove which parameter: every input field of every endpoint is here, and every test that is named exists.

``closed``: the result is compared with what the formula gives. ``neutral``: the value that is no parameter at all, and
the tests that find every bit unchanged by it.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from stillmotion.endpoints.catalogue import CATALOGUE

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Proof:
    closed: Sequence[str]
    value: Any = None
    neutral: Sequence[str] = ()


def _in(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{file}::{name}" for name in names)


def of(*names: str) -> tuple[str, ...]:
    return _in("engine/test_parameters.py", *names)


def canvas(*names: str) -> tuple[str, ...]:
    return _in("engine/test_parameter_canvas.py", *names)


def loras(*names: str) -> tuple[str, ...]:
    return _in("engine/test_parameter_loras.py", *names)


def served(*names: str) -> tuple[str, ...]:
    return _in("process/test_parameters_served.py", *names)


BYTES = _in("engine/test_parameter_identities.py", "test_neutral_values_change_no_byte")
SCALE = Proof(
    of("test_each_scale_of_guidance", "test_all_scales_together"), "1, of STG 0", of("test_each_scale_of_guidance")
)
RESCALE = Proof(of("test_rescaling"), 0, (*of("test_rescaling", "test_rescaling_without_guidance_is_nothing"), *BYTES))
SIZE = canvas("test_the_size", "test_the_named_sizes")

TABLE = {
    "prompt": Proof(
        _in("engine/test_engine_parity.py", "test_equal_to_diffusers")
        + _in("engine/test_engine_text.py", "test_made_remembered_and_encoded_alone_are_the_same_bits")
        + _in("engine/test_engine_generate.py", "test_every_field_of_the_job_counts")
    ),
    "negative_prompt": Proof(
        of("test_each_scale_of_guidance")
        + _in("engine/test_engine_guidance.py", "test_the_other_passes_are_the_networks_own"),
        "where no pass reads it",
        BYTES + _in("engine/test_engine_generate.py", "test_the_negative_prompt_is_not_read_without_guidance"),
    ),
    "enable_prompt_expansion": Proof(
        _in("engine/test_expansion_by_model.py", "test_what_the_model_writes_is_used")
        + served("test_an_expanded_prompt_is_the_one_that_is_used"),
        False,
        BYTES + served("test_a_prompt_that_is_not_to_be_expanded_is_used_as_it_is"),
    ),
    "enable_safety_checker": Proof(
        _in("safety/test_inspection.py", "test_a_flagged_picture_is_refused_at_its_field")
        + _in("safety/test_inspection.py", "test_one_flagged_frame_refuses_the_video_at_its_end"),
        False,
        BYTES
        + _in("safety/test_inspection.py", "test_who_did_not_ask_is_not_checked")
        + _in("safety/test_inspection.py", "test_what_is_harmless_passes_unchanged_and_checked"),
    ),
    "image_url": Proof(
        of("test_the_strength_of_the_start_image")
        + canvas("test_the_place_of_the_images")
        + _in("engine/test_engine_parity.py", "test_image_preparation_equals_diffusers")
    ),
    "image_strength": Proof(
        of("test_the_strength_of_the_start_image")
        + _in("engine/test_parity_faults.py", "test_a_held_tokens_noise_level"),
        0,
        _in("engine/test_parameter_identities.py", "test_a_start_image_of_no_strength_is_none")
        + _in("engine/test_engine_sampler.py", "test_full_strength_keeps_the_images_bit_for_bit"),
    ),
    "end_image_url": Proof(
        of("test_the_strength_of_the_end_image")
        + canvas("test_the_place_of_the_images")
        + _in("engine/test_parity_faults.py", "test_the_place_of_an_end_image"),
        None,
        of("test_the_strength_of_the_end_image"),
    ),
    "end_image_strength": Proof(
        of("test_the_strength_of_the_end_image"),
        0,
        BYTES + _in("engine/test_engine_sampler.py", "test_full_strength_keeps_the_images_bit_for_bit"),
    ),
    "interpolation_direction": Proof(
        of("test_the_direction_of_interpolation", "test_backward_without_an_end_image_leads_to_the_start_image")
        + _in(
            "engine/test_parameter_identities.py",
            "test_backward_is_forward_with_the_images_and_strengths_exchanged",
        ),
        "forward",
        of("test_the_direction_of_interpolation"),
    ),
    "num_frames": Proof(
        canvas("test_frames_and_rate")
        + _in("engine/test_engine_generate.py", "test_delivers_exactly_what_was_promised")
        + _in("engine/test_engine_decode.py", "test_sound_has_exactly_the_videos_length"),
        "one more than a multiple of 8",
        _in("engine/test_engine_generate.py", "test_a_trimmed_video_is_the_start_of_the_whole"),
    ),
    "fps": Proof(canvas("test_frames_and_rate", "test_duration_and_rate_of_pro")),
    "frames_per_second": Proof(canvas("test_frames_and_rate")),
    "duration": Proof(canvas("test_duration_and_rate_of_pro")),
    "video_size": Proof(
        SIZE + _in("engine/test_engine_decode.py", "test_a_covering_frame_is_cut_in_the_centre"),
        "on the grid",
        _in("engine/test_engine_decode.py", "test_one_tile_is_the_vaes_own_decoding"),
    ),
    "resolution": Proof(SIZE + canvas("test_resolution_and_aspect_of_pro")),
    "aspect_ratio": Proof(canvas("test_resolution_and_aspect_of_pro")),
    "generate_audio": Proof(
        canvas("test_without_sound_the_same_is_computed"),
        False,
        _in("engine/test_parameter_identities.py", "test_without_sound_the_pictures_are_the_same"),
    ),
    "seed": Proof(
        of("test_the_seed_is_that_of_every_stream")
        + _in("engine/test_engine_stages_exact.py", "test_each_stage_has_noise_of_its_own"),
        "the same",
        served("test_the_same_request_gives_the_same_bytes"),
    ),
    "num_inference_steps": Proof(
        of("test_the_schedule_and_the_number_of_steps", "test_the_number_of_steps_where_the_schedule_is_ltx2")
    ),
    "scheduler": Proof(
        of("test_the_schedule_and_the_number_of_steps")
        + _in("engine/test_engine_schedule.py", "test_golden_values")
        + _in("engine/test_parity_faults.py", "test_the_shift_of_a_schedule")
    ),
    "guidance_scale": Proof(
        of("test_one_guidance_scale_for_both_modalities", "test_the_guidance_scale_of_the_quality_endpoint"),
        1,
        of("test_one_guidance_scale_for_both_modalities"),
    ),
    "video_cfg_scale": SCALE,
    "video_stg_scale": Proof(
        (*SCALE.closed, *_in("engine/test_parity_faults.py", "test_stg_perturbs_the_stream_that_is_guided")),
        0,
        SCALE.neutral,
    ),
    "video_modality_scale": Proof(
        (*SCALE.closed, *of("test_a_modality_scale_of_zero_goes_to_the_isolated_pass")), 1, SCALE.neutral
    ),
    "video_rescaling_scale": RESCALE,
    "audio_cfg_scale": SCALE,
    "audio_stg_scale": Proof(
        (*SCALE.closed, *_in("engine/test_parity_faults.py", "test_an_audio_scale_of_zero_is_the_videos")),
        0,
        SCALE.neutral,
    ),
    "audio_modality_scale": Proof(
        (*SCALE.closed, *of("test_a_modality_scale_of_zero_goes_to_the_isolated_pass")), 1, SCALE.neutral
    ),
    "audio_rescaling_scale": RESCALE,
    "gradient_estimation_gamma": Proof(
        of("test_gradient_estimation"), "0 and 1", of("test_gradient_estimation") + BYTES
    ),
    "use_restart_sampling": Proof(
        of("test_restart_sampling")
        + _in("engine/test_engine_steps.py", "test_fresh_noise_keeps_signal_and_noise_in_the_flows_proportion"),
        False,
        _in("engine/test_engine_steps.py", "test_an_eta_of_zero_is_euler")
        + _in("engine/test_engine_steps.py", "test_without_eta_no_noise_is_asked_for_after_the_start"),
    ),
    "use_multiscale": Proof(
        of("test_two_scales") + _in("engine/test_engine_stages_exact.py", "test_two_stages_are_what_their_parts_make"),
        False,
        of("test_two_scales") + BYTES,
    ),
    "acceleration": Proof(
        _in("engine/test_acceleration.py", "test_a_carried_pass_keeps_its_distance_in_velocity")
        + _in("engine/test_acceleration.py", "test_the_endpoints_defaults_in_passes"),
        "none; a threshold of 0",
        BYTES
        + _in("engine/test_acceleration.py", "test_none_is_exact_and_reports_nothing")
        + _in(
            "engine/test_acceleration.py",
            "test_a_threshold_of_zero_and_a_step_that_may_not_skip_compute_everything",
        ),
    ),
    "loras": Proof(
        loras("test_loras_with_their_scales_and_alphas_add_up", "test_all_kinds_of_loras_add_up")
        + _in("engine/test_lora_layouts.py", "test_every_layout_merges_to_the_same_weights"),
        "none; a scale of 0",
        loras("test_loras_with_their_scales_and_alphas_add_up", "test_without_loras_every_bit_is_the_models") + BYTES,
    ),
    "camera_lora": Proof(
        loras("test_the_camera_lora_and_its_scale"), "none", loras("test_without_loras_every_bit_is_the_models")
    ),
    "camera_lora_scale": Proof(
        loras("test_the_camera_lora_and_its_scale"), 0, loras("test_the_camera_lora_and_its_scale") + BYTES
    ),
    "distill_lora_first_pass_scale": Proof(
        loras("test_the_scales_of_the_distilled_lora"),
        0,
        loras("test_the_scales_of_the_distilled_lora")
        + _in("engine/test_parameter_identities.py", "test_a_distilled_lora_of_no_scale_is_none"),
    ),
    "distill_lora_second_pass_scale": Proof(
        loras("test_the_scales_of_the_distilled_lora"),
        0,
        loras("test_the_scales_of_the_distilled_lora")
        + _in("engine/test_parameter_identities.py", "test_a_distilled_lora_of_no_scale_is_none"),
    ),
    # Of the file, not of what is generated.
    "video_output_type": Proof(_in("media/test_track_writer.py", "test_the_file_says_what_is_in_it")),
    "video_quality": Proof(_in("media/test_quality_and_size.py", "test_quality_costs_bytes_and_time_saves_them")),
    "video_write_mode": Proof(_in("media/test_quality_and_size.py", "test_quality_costs_bytes_and_time_saves_them")),
    "sync_mode": Proof(
        _in("api/test_sync_mode.py", "test_through_the_queue_it_stays_until_it_is_read"),
        False,
        _in("api/test_sync_mode.py", "test_without_it_nothing_changes"),
    ),
}

NO_NEUTRAL = {
    *("prompt", "image_url", "fps", "frames_per_second", "duration", "resolution", "aspect_ratio"),
    *("num_inference_steps", "scheduler", "video_output_type", "video_quality", "video_write_mode"),
}
"""Of these every value means something."""


@cache
def functions_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def named() -> Iterator[str]:
    for proof in TABLE.values():
        yield from (*proof.closed, *proof.neutral)


@pytest.mark.parametrize("endpoint", CATALOGUE.values(), ids=lambda endpoint: endpoint.id)
def test_every_field_is_proved(endpoint: Any) -> None:
    assert endpoint.input.model_fields.keys() <= TABLE.keys()


def test_the_table_has_no_field_of_no_endpoint() -> None:
    assert TABLE.keys() == {name for endpoint in CATALOGUE.values() for name in endpoint.input.model_fields}


def test_every_test_that_is_named_exists() -> None:
    missing = [name for name in named() if name.partition("::")[2] not in functions_in(name.partition("::")[0])]
    assert not missing


def test_every_parameter_has_a_formula_and_a_neutral_value() -> None:
    assert all(proof.closed for proof in TABLE.values())
    assert {name for name, proof in TABLE.items() if not proof.neutral} == NO_NEUTRAL


@pytest.mark.parametrize("file", ["test_parameters.py", "test_parameter_canvas.py", "test_parameter_loras.py"])
def test_the_closed_forms_are_all_in_the_table(file: str) -> None:
    """What is not is about a formula of the tests' own, or about several parameters together."""
    other = {
        "test_restart_noise_without_any_is_the_plain_step",
        "test_the_distilled_lora_where_the_document_has_no_scale",
    }
    used = {name.partition("::")[2] for name in named() if name.startswith(f"engine/{file}::")}
    assert functions_in(f"engine/{file}") - used - other == set()
