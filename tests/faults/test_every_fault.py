"""The faults that must be survived or refused by name, and the tests that show it.

A fault is what machines, files and people do to a training: a kill, a full disk, half a file, a wrong recipe. Whoever
asks whether one is covered finds its tests here. Whoever renames or removes such a test is told by this one.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent.parent

FAULTS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: (
        "kill -9 at any step, then resume",
        (
            "training/test_resume.py::test_stopped_anywhere_and_resumed_the_bits_are_the_same",
            "training/test_resume.py::test_stopped_again_and_again_it_still_arrives_at_the_same_bits",
            "training/test_resume.py::test_a_process_that_is_killed_or_asked_to_go_leaves_a_run_that_resumes_at_once_to_the_same_bits",
        ),
    ),
    2: (
        # The status is 128 and the signal's number, as of any program; docs/how_to/stop_and_resume.md lists them.
        "a signal during a step, a validation or a save; a second signal",
        (
            "training/test_resume.py::test_a_signal_finishes_the_step_writes_a_checkpoint_and_is_told_by_the_status",
            "training/test_resume.py::test_a_second_request_to_end_takes_its_usual_course_and_an_echo_or_a_notice_does_not",
            "cli/test_commands.py::test_an_interrupted_training_ends_with_the_status_of_its_signal_and_can_go_on",
            "faults/test_stops_at_any_place.py::test_a_request_to_end_leaves_a_run_that_goes_on_to_the_same_bits",
        ),
    ),
    3: (
        "a kill while a checkpoint is written, a full disk, a folder that may not be written",
        (
            "faults/test_killed_writes.py::test_a_kill_while_a_checkpoint_is_written_loses_no_step_but_the_last",
            "faults/test_killed_writes.py::test_a_folder_that_nobody_may_write_is_refused_before_anything_is_trained",
            "storage/test_run_folder.py::test_a_full_disk_leaves_the_previous_file_and_says_so",
            "storage/test_run_folder.py::test_a_write_that_stops_half_way_leaves_the_previous_file",
            "training/test_resume.py::test_a_full_disk_stops_the_training_and_leaves_the_last_good_checkpoint_to_resume_from",
            "experiments/test_experiment.py::test_a_folder_that_cannot_be_written_is_said_before_any_run_is_begun",
        ),
    ),
    4: (
        # The last whole one is taken without being asked for; an error is what is wrong with one that is named.
        "a truncated checkpoint",
        (
            "training/test_resume.py::test_a_damaged_checkpoint_costs_the_steps_since_the_one_before_and_is_told",
            "training/test_resume.py::test_a_checkpoint_that_is_named_is_taken_or_refused_and_no_other_in_its_place",
            "training/test_resume.py::test_where_every_checkpoint_is_damaged_each_is_named_and_nothing_is_lost",
            "storage/test_run_folder.py::test_a_truncated_file_is_refused_wherever_it_ends",
        ),
    ),
    5: (
        "a flipped byte in a checkpoint, in weights, in a prepared clip",
        (
            "storage/test_run_folder.py::test_every_flipped_bit_is_noticed",
            "data/test_preparation_cache.py::test_a_clip_that_was_altered_behind_the_manifests_back_is_not_trained_on",
            "data/test_preparation_cache.py::test_checked_clips_that_are_damaged_are_done_again",
            "models/test_image_encoders.py::test_an_altered_file_of_weights_is_refused",
            "fuzz/test_fuzzed_runs.py::test_damaged_weights_and_checkpoints_are_never_taken_for_whole",
            "fuzz/test_fuzzed_runs.py::test_damaged_clips_are_never_taken_for_whole",
        ),
    ),
    6: (
        "a pickle that would run code",
        (
            "faults/test_files_of_strangers.py::test_a_pickle_for_weights_is_refused_by_name_and_not_run",
            "faults/test_files_of_strangers.py::test_a_pickle_in_a_run_is_refused_by_name_and_not_run",
            "faults/test_files_of_strangers.py::test_an_array_of_objects_is_refused_by_name_and_not_run",
        ),
    ),
    7: (
        # Nothing forces it: other networks start from encoders that a training has exported.
        "the checkpoint of another recipe, other modalities or other labels",
        (
            "faults/test_other_recipes.py::test_the_checkpoint_of_another_recipe_is_refused_with_the_keys_that_differ",
            "faults/test_other_recipes.py::test_labels_of_a_table_that_changed_while_a_training_was_stopped_are_refused",
            "storage/test_run_folder.py::test_another_recipe_is_refused_with_the_keys_that_differ",
            "training/test_resume.py::test_modalities_in_another_order_are_another_recipe",
            "models/test_encoders.py::test_timm_weights_that_lack_or_add_tensors_are_refused_by_name",
        ),
    ),
    8: (
        "a recipe or a received run that names code",
        (
            "config/test_recipe.py::test_nothing_is_imported_because_a_recipe_names_it",
            "config/test_yaml.py::test_tags_are_refused",
            "config/test_trust.py::test_a_command_that_evaluates_a_received_run_imports_nothing_and_names_the_module_the_file_and_what_to_do",
            "config/test_trust.py::test_a_report_of_a_received_experiment_imports_nothing",
        ),
    ),
    9: (
        "YAML of any kind: keys twice or unknown, wrong types, bombs, other encodings, 100 MB",
        (
            "faults/test_strange_recipes.py::test_what_editors_make_of_a_text_is_read",
            "faults/test_strange_recipes.py::test_what_is_no_recipe_is_refused_within_a_second_in_one_line_with_its_name",
            "faults/test_strange_recipes.py::test_a_file_of_100_mb_is_refused_at_once",
            "config/test_recipe.py::test_a_recipe_with_mistakes_reports_all_of_them_with_line_place_value_and_remedy",
            "config/test_yaml.py::test_numbers_and_constants_are_read_as_yaml_1_2_reads_them",
            "storage/test_damaged_documents.py::test_yaml_above_the_limit_is_refused_at_once",
            "fuzz/test_fuzzed_recipes.py::test_a_recipe_file_of_damaged_bytes_is_read_or_refused_with_its_name",
        ),
    ),
    10: (
        "hyperparameters out of range, or that do not go together",
        (
            "faults/test_strange_recipes.py::test_a_number_out_of_range_is_refused_before_the_data_are_touched",
            "faults/test_strange_recipes.py::test_options_that_do_not_go_together_are_refused_by_the_check_before_the_data_are_touched",
            "faults/test_strange_recipes.py::test_made_data_that_no_machine_holds_are_refused_at_once",
            "faults/test_strange_recipes.py::test_more_folds_than_groups_are_refused_with_both_numbers",
            "fuzz/test_fuzzed_commands.py::test_a_recipe_that_is_altered_is_checked_or_refused_with_status_2",
        ),
    ),
    11: (
        "films that are empty, noise, text or not there",
        (
            "data/test_preparation_bad_files.py::test_a_bad_file_becomes_what_the_policies_say_in_words",
            "data/test_preparation_bad_files.py::test_no_bad_file_keeps_the_others_from_being_prepared",
            "data/test_preparation_cache.py::test_dropped_clips_are_no_rows_but_notes",
            "faults/test_torn_media.py::test_where_every_clip_was_dropped_nothing_is_trained_and_the_report_is_named",
        ),
    ),
    12: (
        "a truncated mkv",
        ("faults/test_torn_media.py::test_a_film_that_ends_too_early_is_told_by_name_wherever_it_ends",),
    ),
    13: (
        # No clip has a time of its own after which it is given up: none was found that does not come to an end.
        "a truncated mp4, with its index at either end; flipped bytes",
        (
            "faults/test_torn_media.py::test_a_film_that_ends_too_early_is_told_by_name_wherever_it_ends",
            "faults/test_torn_media.py::test_a_film_of_400_flipped_bytes_is_prepared_or_told_by_name",
            "faults/test_two_preparations.py::test_a_clip_over_which_a_library_crashes_is_the_only_one_to_suffer",
            "data/test_avi.py::test_a_truncated_avi_is_told_however_much_is_left",
            "fuzz/test_fuzzed_media.py::test_damaged_media_are_read_or_refused_with_their_name",
        ),
    ),
    14: (
        "a wav that is cut, not finite, silent, constant, empty or short",
        (
            "faults/test_torn_media.py::test_a_wav_that_ends_anywhere_in_its_header_or_its_sound_is_refused_by_name",
            "faults/test_torn_media.py::test_silence_and_sound_of_a_sample_have_finite_features",
            "data/test_media.py::test_a_truncated_wav_is_refused_though_soundfile_reads_half_of_it",
            "data/test_media.py::test_sound_that_holds_nan_is_refused",
            "data/test_copies.py::test_an_empty_file_is_a_missing_modality_to_the_network",
            "models/test_encoders.py::test_silence_is_centred_and_not_blown_up",
            "models/test_encoders.py::test_a_clip_shorter_than_a_segment_is_padded_with_its_own_mean",
        ),
    ),
    15: (
        "films without sound or picture, of one frame, varying rate, turned, of odd sizes; sounds of any rate",
        (
            "data/test_preparation_bad_files.py::test_a_bad_file_becomes_what_the_policies_say_in_words",
            "data/test_preparation.py::test_a_film_of_varying_rate_shows_the_nearest_frames",
            "data/test_preparation.py::test_sound_and_picture_of_a_film_stay_together",
            "data/test_display.py::test_a_film_is_shown_as_its_display_matrix_says",
            "faults/test_torn_media.py::test_a_film_of_odd_width_and_height_gives_square_crops_of_its_colour",
            "faults/test_torn_media.py::test_a_sound_of_any_rate_from_mono_to_5_1_is_the_tone_that_it_holds",
            "faults/test_torn_media.py::test_the_sound_of_a_film_is_the_mean_of_its_speakers",
            "faults/test_torn_media.py::test_sound_whose_channels_are_stored_apart_is_their_mean_whatever_their_number",
            "faults/test_torn_media.py::test_the_padding_of_a_codec_adds_no_sound_that_a_film_does_not_show",
        ),
    ),
    16: (
        "no face, several faces, a face that leaves, a detector that fails",
        (
            "data/test_face_track.py::test_a_policy_drops_the_clip_or_its_video_and_says_why",
            "data/test_face_track.py::test_a_policy_of_fail_says_what_it_met_and_which_key_decides",
            "data/test_face_track.py::test_of_two_people_the_larger_is_followed_also_where_it_was_missed",
            "data/test_face_track.py::test_a_face_in_some_frames_is_interpolated_and_reported_by_default",
            "data/test_preparation.py::test_a_crop_over_the_edge_continues_the_border",
            "faults/test_torn_media.py::test_a_detector_that_raises_fails_its_clip_alone_and_is_told_with_it",
        ),
    ),
    17: (
        # One that no training sample has is told and not refused.
        "a modality that is missing in samples, in a batch, in all of training",
        (
            "faults/test_any_batch.py::test_in_training_losses_gradients_and_statistics_are_finite_whatever_is_missing",
            "models/test_build.py::test_absent_samples_enter_neither_a_loss_nor_a_statistic_of_their_branch",
            "training/test_loop.py::test_a_batch_in_which_nobody_has_the_modality_teaches_nothing_and_stops_nothing",
            "data/test_copies.py::test_a_modality_that_only_the_test_part_has_is_told_with_counts",
        ),
    ),
    18: (
        # A sample of length 0 lacks the modality, which is told with counts.
        "a batch of one, a last batch of one, an empty batch, no rows, samples of length 0",
        (
            "faults/test_any_batch.py::test_batches_of_one_and_a_last_one_that_is_smaller_train_to_finite_losses",
            "faults/test_any_batch.py::test_a_batch_of_nobody_has_no_scores_and_no_loss",
            "faults/test_bad_numbers.py::test_a_table_without_a_row_is_refused_by_name",
            "data/test_copies.py::test_empty_files_and_columns_are_told_in_check_card_and_page",
        ),
    ),
    19: (
        # No batch is stored and no step skipped: samples are named, and the checkpoint leads to the same step again.
        "a number that is not finite in a sample, a loss or a gradient",
        (
            "faults/test_bad_numbers.py::test_one_bad_number_in_one_file_is_told_with_the_file_before_anything_is_learned",
            "faults/test_bad_numbers.py::test_gradients_that_are_not_finite_stop_within_the_step_and_leave_a_checkpoint_to_go_on_from",
            "training/test_loop.py::test_the_first_number_that_is_not_finite_stops_the_training_and_names_the_samples",
            "training/test_loop.py::test_a_training_that_stopped_at_a_bad_number_leaves_the_checkpoint_of_the_step_before",
        ),
    ),
    20: (
        "labels out of range, all missing, constant, or of classes that a part lacks",
        (
            "data/test_loading.py::test_every_bad_label_of_all_rows_is_reported_at_once",
            "training/test_loop.py::test_a_target_that_no_training_sample_states_is_refused_before_training",
            "models/test_build.py::test_a_batch_in_which_no_target_is_known_has_zero_losses_and_zero_gradients",
            "cli/test_commands.py::test_a_target_of_one_value_is_told_by_file_and_column",
            "cli/test_commands.py::test_classes_that_no_training_sample_has_are_told_by_training_and_diagnosis",
            "models/test_loss_heads.py::test_metrics_of_no_samples_are_nan",
            "data/test_tables.py::test_names_of_classes_are_those_that_stand_there",
            "faults/test_any_batch.py::test_a_set_that_is_said_twice_has_the_same_metrics",
        ),
    ),
    21: (
        "a sequence with nothing left",
        (
            "faults/test_any_batch.py::test_in_training_losses_gradients_and_statistics_are_finite_whatever_is_missing",
            "models/test_build.py::test_samples_that_an_encoder_leaves_without_elements_are_absent",
        ),
    ),
    22: (
        "other samples, another order, other modalities beside a sample",
        (
            "faults/test_any_batch.py::test_in_evaluation_a_sample_is_the_same_alone_and_in_any_company",
            "models/test_build.py::test_in_evaluation_a_sample_never_depends_on_its_batch_mates",
            "models/test_build.py::test_the_order_of_the_modalities_in_a_mapping_of_inputs_does_not_matter",
        ),
    ),
    23: (
        # No batch is made smaller by itself, which would change the result.
        "memory that runs out",
        (
            "nn/test_full_memory.py::test_a_step_that_is_too_large_is_told_with_its_batch",
            "nn/test_full_memory.py::test_a_network_that_is_too_large_is_told_with_the_part_that_is",
            "faults/test_bad_numbers.py::test_memory_that_runs_out_in_a_step_leaves_a_checkpoint_to_go_on_from_to_the_same_bits",
        ),
    ),
    24: (
        "several processes: one fails or dies, batches differ, one lacks a modality",
        (
            "faults/test_two_processes.py::test_where_one_of_two_processes_fails_or_dies_both_end_and_the_run_goes_on_to_the_same_bits",
            "nn/test_distributed.py::test_losses_and_weights_are_those_of_one_process_on_the_union_of_the_batches",
            "nn/test_distributed.py::test_some_batches_of_one_process_lack_a_modality_that_the_other_has",
            "nn/test_distributed.py::test_processes_that_are_started_as_the_page_says_leave_together_and_go_on_to_the_same_bits",
            "data/test_loading.py::test_processes_share_what_one_process_with_larger_batches_sees",
        ),
    ),
    25: (
        "a process that loads data is killed, fails, hangs, or has no shared memory",
        (
            "data/test_loading_failures.py::test_what_a_dataset_raises_or_returns_is_told_with_the_sample_and_its_place",
            "data/test_loading_failures.py::test_a_worker_that_ends_is_told_with_the_sample_that_it_was_loading",
            "data/test_loading_failures.py::test_a_worker_that_hangs_is_told_after_the_time_of_the_recipe_and_ended",
            "data/test_loading_failures.py::test_a_batch_without_room_in_shared_memory_is_told_and_nobody_waits_for_it",
            "data/test_loading_failures.py::test_every_command_that_loads_ends_with_the_sample_and_status_2",
            "training/test_loop.py::test_workers_do_not_change_the_numbers",
        ),
    ),
    26: (
        "a group or a file on both sides of a split",
        (
            "data/test_folds.py::test_a_group_on_both_sides_is_an_error_that_names_it_or_a_label",
            "data/test_copies.py::test_one_recording_in_two_groups_on_both_sides_is_refused_like_any_overlap",
            "data/test_copies.py::test_members_of_archives_with_the_same_bytes_are_copies",
        ),
    ),
    27: (
        # Paths of a user's own table may lead anywhere; names in archives and in results that were sent may not.
        "names that lead elsewhere, links, very long names, letters of any kind and case",
        (
            "faults/test_strange_paths.py::test_clips_of_any_names_are_prepared_into_the_cache_alone_and_apart",
            "faults/test_strange_paths.py::test_a_file_of_a_table_may_have_any_name",
            "faults/test_strange_paths.py::test_a_name_that_leads_to_no_array_is_refused_with_its_row",
            "faults/test_strange_paths.py::test_a_link_is_read_as_what_it_leads_to_and_a_circle_is_refused",
            "faults/test_strange_paths.py::test_a_sound_that_no_name_can_lead_to_is_dropped_by_name_and_the_others_are_prepared",
            "faults/test_strange_paths.py::test_members_of_one_name_but_for_its_case_stay_apart",
            "data/test_archives.py::test_an_archive_with_a_name_that_leads_out_of_it_is_refused",
            "data/test_archives.py::test_a_tar_of_faces_is_held_against_the_limits_and_its_names_lead_nowhere",
            "storage/test_damaged_documents.py::test_a_row_of_results_that_names_a_run_outside_of_the_folder_is_refused",
            "fuzz/test_fuzzed_commands.py::test_a_command_of_any_words_ends_with_0_or_2",
        ),
    ),
    28: (
        "two runs in one folder, a folder of something else, a clock that goes back",
        (
            "storage/test_run_folder.py::test_two_processes_do_not_train_in_one_folder",
            "storage/test_run_folder.py::test_a_folder_that_holds_something_else_is_left_alone",
            "experiments/test_experiment.py::test_a_second_experiment_in_one_folder_is_refused_and_the_first_goes_on",
            "faults/test_stops_at_any_place.py::test_a_clock_that_goes_back_changes_no_bit",
        ),
    ),
    29: (
        "a cache that is stale, or made by two at a time",
        (
            "faults/test_two_preparations.py::test_a_second_preparation_is_refused_and_the_first_goes_on",
            "faults/test_two_preparations.py::test_a_clip_whose_source_or_settings_changed_is_not_trained_on_until_it_is_prepared_anew",
            "data/test_preparation_cache.py::test_another_sound_of_the_same_size_and_time_is_found_by_a_check_and_prepared",
            "training/test_loop.py::test_data_that_changed_between_two_trainings_are_read_anew",
        ),
    ),
    30: (
        "files of a few bytes that state more than any memory holds",
        (
            "faults/test_bombs.py::test_a_table_that_names_it_is_refused_by_the_check_with_row_and_file_in_little_memory",
            "faults/test_bombs.py::test_a_film_of_millions_of_empty_parts_is_given_up_soon",
            "data/test_images.py::test_an_image_of_more_pixels_than_the_limit_is_refused_by_its_header",
            "data/test_images.py::test_a_png_that_states_gigabytes_of_pixels_is_refused_in_the_memory_of_its_own_bytes",
            "data/test_sound_headers.py::test_a_sound_of_more_samples_than_the_limit_is_refused_by_its_header",
            "data/test_sounds_by_libav.py::test_what_a_film_or_sound_states_is_held_against_the_limits_before_it_is_decoded",
            "data/test_sounds_by_libav.py::test_a_film_that_shows_more_frames_than_the_limit_is_refused",
            "data/test_archives.py::test_a_member_larger_than_the_limit_is_refused_before_it_is_unpacked",
        ),
    ),
    31: (
        "packages that are missing or do not fit each other",
        (
            "faults/test_missing_packages.py::test_a_training_of_vectors_needs_none_of_the_packages_for_media",
            "faults/test_missing_packages.py::test_what_needs_a_package_that_is_missing_says_which_and_ends_with_status_2",
            "faults/test_missing_packages.py::test_a_package_that_does_not_fit_another_is_told_with_the_command_that_knows_more",
            "execution/test_doctor.py::test_one_package_that_fails_leaves_kills_or_hangs_stops_no_other",
            "execution/test_doctor.py::test_every_package_is_told_with_what_needs_it_and_what_to_do",
            "data/test_faces.py::test_the_file_of_the_network_is_located_without_running_its_package",
            "project/test_packaging.py::test_import_loads_neither_fabric_nor_figures_nor_media",
        ),
    ),
}


@cache
def names_in(file: str) -> frozenset[str]:
    """The tests that a file defines, by its text alone."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def test_every_fault_has_a_number_a_title_and_tests_that_there_are() -> None:
    assert list(FAULTS) == list(range(1, 32))
    for number, (title, tests) in FAULTS.items():
        assert title, number
        assert tests, number
        assert len(set(tests)) == len(tests), number
        for test in tests:
            file, _, name = test.partition("::")
            assert (TESTS / file).is_file(), f"fault {number}: there is no file {file}"
            assert name in names_in(file), f"fault {number}: {file} defines no {name}"


def test_every_test_of_this_folder_shows_a_fault() -> None:
    named = {test for _, tests in FAULTS.values() for test in tests}
    files = [file.relative_to(TESTS).as_posix() for file in Path(__file__).parent.glob("test_*.py")]
    there = {f"{file}::{name}" for file in files if file != "faults/test_every_fault.py" for name in names_in(file)}
    assert len(there) > 20
    assert not there - named
