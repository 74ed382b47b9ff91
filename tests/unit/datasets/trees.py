"""Miniature data sets: folders of empty files with lists as the real ones have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.making import lay

from marlin_sdk.datasets import Clip, Table
from marlin_sdk.inputs.tables import read_table
from marlin_sdk.inputs.videos import VideoInput


def plant(root: Path, *names: str) -> Path:
    """Make empty files; a name that ends with "/" is a folder."""
    for name in names:
        if name.endswith("/"):
            (root / name).mkdir(parents=True, exist_ok=True)
        else:
            lay(root / name, b"")
    return root


def note(root: Path, name: str, content: str | Mapping[str, Any] | list[Any]) -> Path:
    """Write a list: text, or JSON."""
    return lay(root / name, (content if isinstance(content, str) else json.dumps(content)).encode())


def clips_of(table: Table) -> dict[str, Clip]:
    """The clips by id."""
    return {clip.id: clip for clip in table.clips}


def column(table: Table, label: str) -> dict[str, Any]:
    """A label by id; of each clip, it must be there."""
    return {clip.id: clip.labels[label] for clip in table.clips}


def splits_of(table: Table) -> dict[str, str]:
    """The split by id."""
    return {clip.id: clip.split for clip in table.clips}


def read_back(table: Table, file: Path) -> list[VideoInput]:
    """The table as marlin-extract reads it."""
    table.write(file)
    return read_table(file)


def plant_data_sets(root: Path) -> None:
    """A small tree of each data set but those with HDF5, in a folder named like it."""
    for make in (_deepfakes, _acted, _listed, _engaged, _spoken):
        make(root)
    clips = {
        f"{name}_0": {
            "ytb_id": name,
            "duration": {"start_sec": 0, "end_sec": 4},
            "attributes": {"appearance": [1], "action": [0], "emotion": {"sep_flag": False, "labels": "neutral"}},
        }
        for name in ("a", "b", "c")
    }
    mapping = {"appearance_mapping": ["Male"], "action_mapping": ["talk"]}
    note(root, "celebv-hq/celebvhq_info.json", {"meta_info": mapping, "clips": clips})
    plant(root / "celebv-hq/processed", *(f"{name}.mp4" for name in clips))
    plant(root / "faces", *(f"{mood}/p{index}/1.mp4" for index in range(10) for mood in ("calm", "happy")))


def _deepfakes(root: Path) -> None:
    faces = root / "faceforensics"
    for split, (a, b) in {"train": ("071", "054"), "val": ("720", "672"), "test": ("953", "974")}.items():
        note(faces, f"splits/{split}.json", [[a, b]])
        plant(faces / "original_sequences/youtube/c23/videos", f"{a}.mp4", f"{b}.mp4")
        for method in ("Deepfakes", "FaceSwap"):
            plant(faces / f"manipulated_sequences/{method}/c23/videos", f"{a}_{b}.mp4", f"{b}_{a}.mp4")
        plant(faces / "original_sequences/actors/c23/videos", f"{a}__walking.mp4")
        plant(faces / "manipulated_sequences/DeepFakeDetection/c23/videos", f"{a}_{b}__walking__ABCDEFGH.mp4")
    note(root, "celeb-df/List_of_testing_videos.txt", "1 YouTube-real/00000.mp4\n0 Celeb-synthesis/id1_id0_0000.mp4\n")
    plant(root / "celeb-df", "Celeb-real/id0_0000.mp4", "YouTube-real/00000.mp4", "Celeb-synthesis/id1_id0_0000.mp4")
    entries = {f"{index}.mp4": {"label": "REAL", "split": "train"} for index in range(3)}
    note(root, "dfdc/dfdc_train_part_0/metadata.json", entries)
    plant(root / "dfdc/dfdc_train_part_0", *entries)
    for split in ("train", "val"):
        note(
            root,
            f"av-deepfake1m/{split}_metadata.json",
            [{"file": f"{split}1.mp4", "original": None, "fake_segments": []}],
        )
        plant(root, f"av-deepfake1m/{split}/{split}1.mp4")


def _acted(root: Path) -> None:
    actors = range(1, 25)
    plant(root / "ravdess", *(f"Actor_{actor:02d}/01-01-05-02-01-02-{actor:02d}.mp4" for actor in actors))
    note(
        root,
        "crema-d/VideoDemographics.csv",
        "ActorID,Age,Sex,Race,Ethnicity\n" + "".join(f"10{actor:02d},30,Male,Asian,Hispanic\n" for actor in actors),
    )
    plant(root / "crema-d/VideoFlash", *(f"10{actor:02d}_DFA_ANG_XX.flv" for actor in actors))
    plant(root / "mead", *(f"M{actor:03d}/video/front/angry/level_1/001.mp4" for actor in actors))


def _listed(root: Path) -> None:
    for split, name in {"train": "00001", "test": "00002"}.items():
        note(root, f"dfew/EmoLabel_DataSplit/{split}(single-labeled)/set_1.csv", f"video_name,label\n{int(name)},1\n")
        plant(root, f"dfew/Clip/jpg_256/{name}/1.jpg")
        note(root, f"ferv39k/4_setups/All_scenes/{split}_All.csv", f"Action/Happy/{name} Happy\n")
        plant(root, f"ferv39k/2_ClipsforFaceCrop/Action/Happy/{name}/1.jpg")
        note(root, f"mafw/split/single/no_caption/set_1/{split}.txt", f"{name}.mp4 anger\n")
        plant(root, f"mafw/{name}.mp4")
    rows = "".join(
        f"{name},0,x,{value},{mode}\n"
        for name, value, mode in (("a", 1, "train"), ("b", -1, "valid"), ("c", 0, "test"))
    )
    note(root, "cmu-mosei/label.csv", f"video_id,clip_id,text,label,mode\n{rows}")
    plant(root / "cmu-mosei/Raw", *(f"{name}/0.mp4" for name in "abc"))


def _engaged(root: Path) -> None:
    names = {"train": "ann-1", "valid": "bob-1", "test": "cat-1"}
    note(
        root,
        "engagenet/final_labels.csv",
        "chunk,label\nann-2,SNP(Subject Not Present)\n" + "".join(f"{name},Engaged\n" for name in names.values()),
    )
    for split, name in names.items():
        note(root, f"engagenet/{split}.txt", f"{name}\n")
        plant(root, f"engagenet/{name}.mp4")
    for user, part in enumerate(("Train", "Validation", "Test"), start=1):
        note(
            root,
            f"daisee/Labels/{part}Labels.csv",
            f"ClipID,Boredom,Engagement,Confusion,Frustration \n{user}1.avi,0,1,2,3\n",
        )
        plant(root, f"daisee/DataSet/{part}/{user}/{user}1/{user}1.avi")


def _spoken(root: Path) -> None:
    for number, split in enumerate(("train", "val", "test")):
        note(root, f"lrs2/{split}.txt", f"{number}/00001 NF\n")
        note(root, f"lrs2/mvlrs_v1/main/{number}/00001.txt", "Text:  HELLO\nConf:  3\n")
        plant(root, f"lrs2/mvlrs_v1/main/{number}/00001.mp4")
    sentences = [(f"s{speaker}", f"bbaf{digit}a") for speaker in range(1, 4) for digit in range(1, 4)]
    plant(root / "grid", *(f"{speaker}/{name}.mp4" for speaker, name in sentences))
    note(
        root,
        "grid/words.csv",
        "id,word,start_s,end_s\n"
        + "".join(f"{speaker}/{name},sil,0,1\n{speaker}/{name},bin,1,2\n" for speaker, name in sentences),
    )
