"""The data sets that can be read: their facts, their options, and the module that reads each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import cast

from marlin_sdk.datasets.listing import Reader
from marlin_sdk.errors import ConfigError

__all__ = ["DATA_SETS", "DataSet", "Option", "data_set"]

_FIVE = ("1", "2", "3", "4", "5")
_OWN_PAGE = "see its page"
_FROM_A_UNIVERSITY = "non-commercial research only, by e-mail from a university"


@dataclass(frozen=True)
class Option:
    """A choice that a data set offers.

    Attributes:
        values: what it may be.
        default: the value if none is given.
        several: whether several values may be given, with commas between them.
    """

    values: tuple[str, ...]
    default: str
    several: bool = False

    def check(self, value: str, name: str) -> str:
        """The value.

        Raises:
            ConfigError: it is not one of the option's.
        """
        given = value.split(",") if self.several else [value]
        wrong = [one for one in given if one not in self.values]
        if wrong:
            raise ConfigError(
                f"{name}={value!r}; expected {'some' if self.several else 'one'} of {', '.join(self.values)}"
                f"{', with commas between them' if self.several else ''}"
            )
        return value


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        title: its name in print.
        labels: what it is labelled with.
        licence: its terms, as far as we have seen them.
        source: whom to ask for it, and the page that says how.
        expected: the files that its folder must have.
        reader: "module:function" of its reader, below `marlin_sdk.datasets`; see `Reader`.
        options: what may be chosen, by name.
    """

    title: str
    labels: str
    licence: str
    source: str
    expected: str
    reader: str
    options: Mapping[str, Option] = field(default_factory=dict)

    def load(self) -> Reader:
        """Import its reader."""
        module, _, name = self.reader.partition(":")
        return cast(Reader, getattr(import_module(f"marlin_sdk.datasets.{module}"), name))


DATA_SETS: Mapping[str, DataSet] = {
    "celebv-hq": DataSet(
        "CelebV-HQ",
        "40 appearances, 35 actions, 8 emotions",
        "non-commercial research only",
        "the CelebV-HQ project, github.com/CelebV-HQ/CelebV-HQ",
        "celebvhq_info.json, and the videos in processed/ or downloaded/",
        "celebv_hq:read",
        {"task": Option(("attributes", "appearance", "action", "emotion"), "attributes")},
    ),
    "cmu-mosei": DataSet(
        "CMU-MOSEI",
        "sentiment, 6 emotions",
        _OWN_PAGE,
        "the CMU Multimodal SDK, github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK",
        "CMU_MOSEI_Labels.csd and Raw/Videos/Full/Combined/*.mp4, or label.csv and Raw/<video>/<clip>.mp4",
        "emotion.cmu_mosei:read",
    ),
    "faceforensics": DataSet(
        "FaceForensics++, with DeepFakeDetection",
        "real or fake, method",
        "FaceForensics terms of use, research only, by agreement form",
        "the FaceForensics++ project, github.com/ondyari/FaceForensics",
        "original_sequences/, manipulated_sequences/ and splits/{train,val,test}.json",
        "deepfakes.faceforensics:read",
        {
            "compression": Option(("c23", "c40", "c0", "raw"), "c23"),
            "methods": Option(
                ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter", "DeepFakeDetection"),
                "Deepfakes,Face2Face,FaceSwap,NeuralTextures",
                several=True,
            ),
        },
    ),
    "celeb-df": DataSet(
        "Celeb-DF v2",
        "real or fake",
        "Celeb-DF terms of use, non-commercial, by request form",
        "the Celeb-DF project, github.com/yuezunli/celeb-deepfakeforensics",
        "Celeb-real/, YouTube-real/, Celeb-synthesis/ and List_of_testing_videos.txt",
        "deepfakes.celeb_df:read",
    ),
    "dfdc": DataSet(
        "DFDC",
        "real or fake",
        _OWN_PAGE,
        "the Deepfake Detection Challenge, ai.meta.com/datasets/dfdc",
        "dfdc_train_part_<N>/ with metadata.json and the videos",
        "deepfakes.dfdc:read",
    ),
    "av-deepfake1m": DataSet(
        "AV-Deepfake1M and AV-Deepfake1M++",
        "real or fake, picture or sound, segments",
        "non-commercial research and education, by signed agreement",
        "the AV-Deepfake1M project, github.com/ControlNet/AV-Deepfake1M and (++) deepfakes1m.github.io/2025",
        "train/ and val/ with train_metadata.json, train_metadata/**.json, or a .json beside each video (++)",
        "deepfakes.av_deepfake1m:read",
    ),
    "lrs2": DataSet(
        "LRS2",
        "the sentence",
        "non-commercial research only, by agreement with the BBC",
        "the BBC, www.bbc.co.uk/rd/projects/lip-reading-datasets",
        "mvlrs_v1/ and the lists train.txt, val.txt and test.txt beside it",
        "speech.lrs2:read",
        {"part": Option(("main", "pretrain", "all"), "main")},
    ),
    "ravdess": DataSet(
        "RAVDESS",
        "8 emotions, intensity, sex",
        "CC BY-NC-SA 4.0",
        "the RAVDESS project, zenodo.org/records/1188976",
        "Actor_01/ to Actor_24/ with the videos",
        "emotion.acted:read_ravdess",
        {
            "modality": Option(("audio-video", "video"), "audio-video"),
            "fold": Option(("none", "1", "2", "3", "4", "5", "6"), "none"),
        },
    ),
    "crema-d": DataSet(
        "CREMA-D",
        "6 emotions, intensity, demographics",
        "ODbL 1.0, contents DbCL 1.0",
        "the CREMA-D project, github.com/CheyneyComputerScience/CREMA-D",
        "VideoFlash/*.flv and VideoDemographics.csv",
        "emotion.acted:read_crema_d",
        {"fold": Option(("none", "1", "2", "3", "4", "5"), "none")},
    ),
    "dfew": DataSet(
        "DFEW",
        "7 emotions",
        _FROM_A_UNIVERSITY,
        "the DFEW project, dfew-dataset.github.io",
        "EmoLabel_DataSplit/ and Clip/jpg_256/",
        "emotion.in_the_wild:read_dfew",
        {"fold": Option(_FIVE, "1")},
    ),
    "ferv39k": DataSet(
        "FERV39k",
        "7 emotions, scene",
        _FROM_A_UNIVERSITY,
        "the FERV39k project, github.com/wangyanckxx/FERV39k",
        "4_setups/All_scenes/{train,test}_All.csv and 2_ClipsforFaceCrop/",
        "emotion.in_the_wild:read_ferv39k",
    ),
    "mafw": DataSet(
        "MAFW",
        "11 emotions",
        "non-commercial research only, by agreement form",
        "the MAFW project, github.com/MAFW-database/MAFW",
        "split/single/no_caption/set_<N>/{train,test}.txt, and the videos anywhere below",
        "emotion.in_the_wild:read_mafw",
        {"fold": Option(_FIVE, "1")},
    ),
    "engagenet": DataSet(
        "EngageNet",
        "4 levels of engagement",
        "on request by e-mail",
        "the EngageNet project, github.com/engagenet/engagenet_baselines",
        "final_labels.csv, train.txt, valid.txt, test.txt, and the videos anywhere below",
        "engagement:read_engagenet",
    ),
    "daisee": DataSet(
        "DAiSEE",
        "boredom, engagement, confusion, frustration, each 0 to 3",
        "by request form, see its page",
        "the DAiSEE project, people.iith.ac.in/vineethnb/resources/daisee",
        "DataSet/{Train,Validation,Test}/ and Labels/{Train,Validation,Test}Labels.csv",
        "engagement:read_daisee",
    ),
    "grid": DataSet(
        "GRID",
        "the sentence: verb, colour, preposition, letter, digit, adverb; or each word",
        "CC BY 4.0",
        "the GRID corpus of Cooke, Barker, Cunningham and Shao (2006), zenodo.org/records/3625687",
        "a folder of videos for each speaker (s1/bbaf5a.mp4), and words.csv for the words",
        "speech.grid:read",
        {
            "task": Option(("sentence", "words"), "sentence"),
            "group": Option(("speaker", "sentence"), "speaker"),
        },
    ),
    "mead": DataSet(
        "MEAD",
        "emotion, level, sex",
        "research use only",
        "the MEAD project, wywu.github.io/projects/MEAD/MEAD.html",
        "M003/video/front/angry/level_1/001.mp4, or M003_angry_1_001.mp4",
        "emotion.acted:read_mead",
        {
            "view": Option(
                ("front", "left_30", "left_60", "right_30", "right_60", "top", "down", "all"),
                "front",
            )
        },
    ),
    "folder": DataSet(
        "your own folder",
        "the name of the folder",
        "yours",
        "nobody",
        "<label>/<name>.mp4 or <label>/<person>/<name>.mp4, below train/, val/ and test/ if you like",
        "own_folder:read",
    ),
}
"""The data sets by their names on the command line."""


def data_set(name: str) -> DataSet:
    """A data set by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in DATA_SETS:
        raise ConfigError(f"there is no data set {name!r}; expected one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
