"""`marlin-sdk data`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.making import noise, write_video
from tests.unit.datasets.trees import note, plant

from marlin_sdk.cli.evaluation.data import command
from marlin_sdk.datasets.catalogue import DATA_SETS
from marlin_sdk.inputs.tables import read_table


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments])


def test_alone_it_lists_every_data_set_with_its_licence_and_whom_to_ask() -> None:
    done = run()
    assert done.exit_code == 0
    for name, entry in DATA_SETS.items():
        assert f"\n{name} " in f"\n{done.stdout}"
        assert f"licence: {entry.licence}; ask: {entry.source}" in done.stdout


@pytest.mark.parametrize("name", [name for name in DATA_SETS if name != "folder"])
def test_whom_to_ask_comes_with_an_address(name: str) -> None:
    assert re.search(r", [\w.-]+\.(com|io|org|uk|in)/?\S*", DATA_SETS[name].source)


def test_with_a_name_it_says_what_the_folder_must_look_like() -> None:
    done = run("faceforensics")
    assert "expected in its folder: original_sequences/" in done.stdout
    assert "--compression  one of c23, c40, c0, raw  [default: c23]" in done.stdout


def test_every_option_of_a_data_set_is_one_of_the_command_which_names_the_data_set() -> None:
    helps = {option.name: getattr(option, "help", "") for option in command.params}
    for name, entry in DATA_SETS.items():
        for key in entry.options:
            assert name in helps[key], key


def test_the_table_is_written_and_the_rest_said_on_stderr(tmp_path: Path) -> None:
    plant(tmp_path, *(f"data/happy/p{index}/1.mp4" for index in range(10)), "data/stray.mp4")
    done = run("folder", tmp_path / "data", "-o", tmp_path / "clips.csv")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        "1 video (stray.mp4) is left out: no list, folder or name gives a label.",
        f"{tmp_path}/clips.csv: 10 clips; split by seed 0: train 8, val 1, test 1",
    ]
    assert len(read_table(tmp_path / "clips.csv")) == 10


def test_quiet_says_only_what_is_left_out(tmp_path: Path) -> None:
    plant(tmp_path, *(f"data/happy/p{index}/1.mp4" for index in range(10)), "data/stray.mp4")
    done = run("folder", tmp_path / "data", "-o", tmp_path / "clips.csv", "--quiet")
    assert done.stderr == "1 video (stray.mp4) is left out: no list, folder or name gives a label.\n"


def test_check_opens_the_videos_leaves_out_what_fails_and_counts(tmp_path: Path) -> None:
    for name in ("bbaf1a", "bbaf2a", "bbaf3a", "sbaf4a"):
        (tmp_path / "grid" / "s1").mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "grid" / "s1" / f"{name}.mp4", noise(25, 32, 32))
    plant(tmp_path, "grid/s1/bbaf5a.mp4")
    times = "id,word,start_s,end_s\n"
    times += "".join(f"bbaf{digit}a,bin,0,0.5\n" for digit in (1, 2, 3, 5)) + "sbaf4a,set,0.2,9\nbbaf1a,blue,0.5,1\n"
    note(tmp_path, "grid/words.csv", times)
    arguments = ("grid", tmp_path / "grid", "--task", "words", "--group", "sentence", "-o", tmp_path / "clips.csv")
    done = run(*arguments, "--check")
    assert done.exit_code == 0, done.stderr
    assert "1 clip (s1/bbaf5a/1-bin) is left out: the file cannot be opened as a video." in done.stderr
    assert "1 clip (s1/sbaf4a/1-set) is left out: the part lies outside the video." in done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert sum(map(int, rows["clips"])) == 4
    assert rows["word"][0] in ("bin", "blue")
    assert "s1/bbaf1a/1-bin" in [video.id for video in read_table(tmp_path / "clips.csv")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "there is no data set 'nope'"),
        (["folder", "."], "-o FILE is missing"),
        (["folder", "absent", "-o", "c.csv"], "there is no folder absent"),
        (["folder", ".", "-o", "c.csv", "--fold", "1"], "folder has no option fold"),
        (["dfew", ".", "-o", "c.csv", "--fold", "9"], "fold='9'; expected one of 1, 2, 3, 4, 5"),
        (["folder", ".", "-o", "c.csv"], "has no video in a folder that names its label"),
    ],
)
def test_invalid_usage_ends_with_2_and_writes_nothing(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_cannot_be_written_ends_with_1(tmp_path: Path) -> None:
    plant(tmp_path, "data/happy/1.mp4", "file")
    done = run("folder", tmp_path / "data", "-o", tmp_path / "file" / "clips.csv")
    assert done.exit_code == 1
    assert "failed" in done.stderr


def test_control_characters_of_lists_do_not_reach_the_terminal(tmp_path: Path) -> None:
    entries = {f"{index}.mp4": {"label": "REAL"} for index in range(3)} | {"\x1b[2J\ud800.mp4": {"label": "REAL"}}
    note(tmp_path, "dfdc/dfdc_train_part_0/metadata.json", entries)
    plant(tmp_path / "dfdc/dfdc_train_part_0", *list(entries)[:3])
    done = run("dfdc", tmp_path / "dfdc", "-o", tmp_path / "clips.csv")
    assert done.exit_code == 0
    assert "1 listed clip" in done.stderr
    assert "\x1b" not in done.stderr
