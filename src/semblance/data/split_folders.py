"""What folders say of pictures: which are to be trained on, which held out, and which class each shows."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from semblance.data.tally import Tally
from semblance.errors import UserError
from semblance.shown import shown

TRAIN, UNLABELLED = "train", "unlabelled"
HELD_OUT = ("test", "val", "eval", "dev", "holdout")  # kinds of held-out parts; the first that there is, is taken
_WORDS = {
    TRAIN: ("train", "training", "trn", "trainval"),
    "test": ("test", "testing", "tst"),
    "val": ("val", "valid", "validate", "validation"),
    "eval": ("eval", "evaluation"),
    "dev": ("dev", "devel", "development"),
    "holdout": ("holdout", "heldout"),
    UNLABELLED: ("unlabelled", "unlabeled", "unlab", "unsup", "unsupervised"),
}
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words}
_AROUND = r"(?:data|(?:dataset|set|split|image|img|picture|pic|photo|video|clip|frame|sample|file)s?)"
_KIND = re.compile(rf"{_AROUND}?({'|'.join(sorted(_KINDS, key=len, reverse=True))}){_AROUND}?")
_MASKS = {
    "mask",
    "masks",
    "label",
    "labels",
    "annotation",
    "annotations",
    "gt",
    "groundtruth",
    "segmentation",
    "ground",
    "truth",
}
_YEAR = r"(19|20)\d\d"
_MONTH = (
    "(?:jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?"
    "|sept?(ember)?|oct(ober)?|nov(ember)?|dec(ember)?)"
)
_DATED = re.compile(
    rf"(photos from )?{_YEAR}($|[^0-9]|(0[1-9]|1[0-2])([0-2]\d|3[01])?($|[^0-9]))|(\d\d?[-_. ]){{1,2}}{_YEAR}$"
    rf"|(.*[^a-z])?{_MONTH}[-_., ]+(\d\d?[-_., ]+)?{_YEAR}$|((photo|my)[-_ ]?)*albums?($|[^a-z])",
    re.I,
)
_OF_A_CAMERA = re.compile(r"[1-9]\d\d(?=\d*[A-Z_])[0-9A-Z_]{5}")  # 100CANON, 101_PANA: the DCF standard
_OF_CAMERAS = (
    "dcim",
    "camera",
    "camera roll",
    "camera uploads",
    "screenshots",
    "whatsapp images",
    "downloads",
    "selfies",
)


@dataclass
class Arranged:
    """Names by part, each with what is left of it below the folders that say its part; the class is its first folder.

    test: None where folders say no split. unlabelled: names whose folder says that they have no label.
    classes: sorted; none where folders are none. notes, class_notes: what may surprise of parts and of classes.
    """

    train: dict[str, str]
    test: dict[str, str] | None = None
    classes: list[str] = field(default_factory=list)
    unlabelled: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    class_notes: list[str] = field(default_factory=list)

    def enter(self) -> None:
        """Leave out folders that hold all of each part."""
        while self.test and _only_folder(self.train) and _only_folder(self.test):
            self.train, self.test = _below(self.train), _below(self.test)

    def shared_folders(self) -> set[str]:
        """The first folders that both parts have."""
        return (_folders(self.train.values()) & _folders((self.test or {}).values())) - {""}


def kind_of(word: str) -> str | None:
    """The part that a word names in any case, as `Training`, `val` or `testset`: TRAIN, UNLABELLED or of HELD_OUT."""
    match = _KIND.fullmatch(word.lower())
    return _KINDS[match[1]] if match else None


def arrange(
    names: Sequence[str], said: Mapping[str, Sequence[str]] | None = None, *, as_classes: bool = False
) -> Arranged:
    """What folders say of sorted names, which are relative to the data set with `/` between folders.

    Folders that hold everything are entered first. Then

    - **parts**: a folder names a part where one of its words does, in any case and with digits or "set", "data",
      "images" around it (Training, seg_train, train2017, testset). Such folders are splits where one of them is to be
      trained on and another is held out, with the same other words if any two have the same; beside folders of other
      names only where they have other words, or both hold the same class folders. So `test` among classes of things is
      a class. They may also lie within each class folder (CLASS/train beside CLASS/test). Of several held-out kinds the
      first of HELD_OUT with classes is taken; the others and what lies beside is left out. So are all where none has
      classes and what is trained on has. Where there are held-out kinds alone, the last of them is trained on. What is
      called unlabelled is trained on, without labels.
    - **classes**: the first folder within the part; `images` and the like that hold all of a part are entered. There
      are none unless every picture lies in one and there are two at least, and none where half of the folders or more
      are called by dates (2019, 2020-05, "2021 Holiday", "May 2021", 20190503) or by cameras (DCIM, 100CANON).

    Folders of masks beside those of images or of a part are left out, unless as_classes.

    said: folders by part, "train" and "test", as a person names them. as_classes: the first folders are the classes,
    whatever they are called. Raises UserError where a folder that is said is not there.
    """
    masks = [] if said or as_classes else _masks(names)
    left_out = set(masks)
    names = [name for name in names if name not in left_out]
    inner = dict(zip(names, _descend(names), strict=True))
    if said or as_classes:
        return _classed(_as_said(inner, said) if said else Arranged(inner), as_classes=as_classes)
    found = _classed(_by_name(inner) or _in_classes(inner) or Arranged(inner, class_notes=_seemingly(inner)))
    if masks:
        tally = Tally()
        tally.add("Left out in folders of masks or labels (--labels folders takes them)", *masks)
        found.notes += tally.lines()
    return found


def _masks(names: Iterable[str]) -> list[str]:
    """Names in folders of masks, as masks/ beside images/, or train_labels/ beside train/."""
    within: dict[str, set[str]] = {}  # the folders in each
    for folder in {name.rpartition("/")[0] for name in names}:
        while folder:
            around, _, own = folder.rpartition("/")
            within.setdefault(around, set()).add(own)
            folder = around
    found: set[str] = set()
    for around, folders in within.items():
        plain: set[tuple[str, ...]] = set()  # the words for parts of folders without masks
        masks: dict[str, tuple[str, ...]] = {}
        for folder in folders:
            words = [word for word in _words(folder) if not re.fullmatch(_AROUND, word)]
            rest = tuple(word for word in words if word not in _MASKS)
            if all(map(kind_of, rest)):
                if len(rest) < len(words):
                    masks[folder] = rest
                elif rest or re.fullmatch(_AROUND, folder.lower()):
                    plain.add(rest)
        beside = [mask for mask, rest in masks.items() if rest in plain or (plain and not rest)]
        found |= {f"{around}/{mask}".lstrip("/") for mask in beside}
    return [name for name in names if found and any(folder in found for folder in _around(name))]


def _around(name: str) -> Iterable[str]:
    """All folders that a name lies in."""
    while name := name.rpartition("/")[0]:
        yield name


def _descend(names: Sequence[str]) -> list[str]:
    """The names without the folders that all of them share."""
    inner = list(names)
    while all("/" in name for name in inner) and len({name.split("/")[0] for name in inner}) == 1:
        inner = [name.split("/", 1)[1] for name in inner]
    return inner


def _words(folder: str) -> list[str]:
    """Words of a folder's name, lower case: of seg_train, train2017, trainA and TrainSet."""
    found: list[str] = []
    for word in re.findall(r"[^\W\d_]+", re.sub(r"(?i)h[eo]ld[\W_]?out", "holdout", folder)):
        found += [word] if kind_of(word) else re.findall(r"[A-Z]?[^A-Z]+|[A-Z]+", word)
    return [word.lower() for word in found]


def named_part(folder: str) -> tuple[str, str] | None:
    """The part that a folder names, and its other words; None where it names none."""
    words = _words(folder)
    kinds = [kind for word in words if (kind := kind_of(word))]
    if not kinds:
        return None
    rest = " ".join(word for word in words if not kind_of(word) and not re.fullmatch(_AROUND, word))
    return next((kind for kind in (UNLABELLED, TRAIN) if kind in kinds), kinds[0]), rest


def _by_name(inner: Mapping[str, str], *, in_classes: bool = False) -> Arranged | None:
    """Parts by the names of the first folders; None where they name none. in_classes: each class has such folders."""
    tops = sorted(_folders(inner.values()) - {""})
    roles = {top: role for top in tops if (role := named_part(top))}
    kinds: dict[str, set[str]] = {}  # by the other words of the folders
    for kind, words in roles.values():
        kinds.setdefault(words, set()).add(kind)
    whole = {words for words, found in kinds.items() if TRAIN in found and len(found) > 1}
    trained, present = TRAIN, set().union(*kinds.values())
    if several := not whole and TRAIN in present and not present.isdisjoint(HELD_OUT):
        whole = set(kinds)  # each part has words of its own, as train, PublicTest and PrivateTest
    if not whole and len(roles) == len(tops) and not in_classes:
        whole = {words for words, found in kinds.items() if len(found & set(HELD_OUT)) > 1}
        trained = next((kind for kind in reversed(HELD_OUT) if any(kind in kinds[words] for words in whole)), TRAIN)
    if not whole:
        return None
    parts: dict[str, dict[str, str]] = {}
    for name, short in inner.items():
        top, slash, rest = short.partition("/")
        kind, words = roles.get(top, ("", "")) if slash else ("", "")
        if kind and words in whole:  # beside trainB and testB, trainA and testA are of the class A
            rest = f"{words}/{rest}" if len(whole) > 1 and not several else rest
            parts.setdefault(TRAIN if kind == trained else kind, {})[name] = rest
    parts = {kind: _entered(part) for kind, part in parts.items()}
    held = [kind for kind in HELD_OUT if kind in parts]
    # ImageNet and others ship a test folder without classes beside a val folder with them.
    test = next((kind for kind in held if _class_folders(parts[kind].values())), next(iter(held), None))
    if in_classes and not _in_every_class(inner, parts):
        return None
    found = Arranged(parts[TRAIN], parts[test] if test else None, unlabelled=set(parts.get(UNLABELLED, ())))
    found.enter()
    others = {word for top in tops if top not in roles for word in _words(top)}
    if several:  # of train and PublicTest none is a class, "train station" and "test tube" are
        certain = len(roles) == len(tops) and "" in kinds
    else:  # beside query/, bounding_box_train/ and bounding_box_test/ are parts; beside "parking ground" no ground is
        certain = len(roles) == len(tops) or ("" not in whole and others.isdisjoint(" ".join(whole).split()))
    if not certain and not found.shared_folders():
        return None
    if found.test and _class_folders(found.train.values()) and _folders(found.test.values()) == {""}:
        found.test, test = None, None  # as of a competition, whose test pictures have no labels
    found.train |= parts.get(UNLABELLED, {})
    if trained != TRAIN:
        found.notes.append(f"No folder is called train: {trained} is trained on, {test} is held out.")
    if left_out := [name for name in inner if name not in found.train and name not in (found.test or {})]:
        taken = (trained, test, UNLABELLED)
        used = [top for kind in taken for top, role in roles.items() if role[0] == kind and role[1] in whole]
        named = " and ".join(f"{shown(top)}/" for top in used[:4])
        found.notes.append(f"{len(left_out):,} pictures beside {named} are left out, as {shown(left_out[0])}.")
    return found


def _in_classes(inner: Mapping[str, str]) -> Arranged | None:
    """Parts by the names of folders within each class folder, as CLASS/train; None where there are none."""
    split_up = {name: short.split("/", 2) for name, short in inner.items()}
    if not any(named_part(second) for second in {parts[1] for parts in split_up.values() if len(parts) > 2}):
        return None
    swapped = {name: "/".join([p[1], p[0], p[2]]) if len(p) > 2 else p[-1] for name, p in split_up.items()}
    return _by_name(swapped, in_classes=True)


def _in_every_class(inner: Mapping[str, str], parts: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether each of two class folders or more has parts within it; inner: PART/CLASS/..., where there are parts."""
    within = {short.split("/")[0] for part in parts.values() for short in part.values()}
    return len(within) > 1 and within == {short.split("/")[1] for short in inner.values() if "/" in short}


def _entered(inner: dict[str, str]) -> dict[str, str]:
    """A part without `images` and the like, or the part's own name again, where such a folder holds all of it."""
    while folder := _only_folder(inner):
        if not (re.fullmatch(_AROUND, folder.lower()) or named_part(folder)):
            break
        inner = _below(inner)
    return inner


def _only_folder(inner: Mapping[str, str]) -> str:
    """The folder that holds all; "" where there is none."""
    folders = _folders(inner.values())
    return next(iter(folders)) if len(folders) == 1 else ""


def _below(inner: Mapping[str, str]) -> dict[str, str]:
    return {name: short.split("/", 1)[1] for name, short in inner.items()}


def _as_said(inner: Mapping[str, str], said: Mapping[str, Sequence[str]]) -> Arranged:
    """Parts as a person names their folders. Without one to train on, all else is."""
    parts: dict[str, dict[str, str]] = {}
    for part, folders in said.items():
        for folder in folders:
            prefix = folder.replace("\\", "/").strip("/") + "/"
            below = {n: s[len(prefix) :] for n, s in inner.items() if s.lower().startswith(prefix.lower())}
            below |= {n: n[len(prefix) :] for n in inner if n.lower().startswith(prefix.lower())}
            if not below:
                tops = sorted({"/".join(s.split("/")[:d]) for s in inner.values() for d in (1, 2) if s.count("/") >= d})
                known = ", ".join(map(shown, tops[:20])) or "none"
                raise UserError(f"--split: no folder {shown(folder)} in the data. There are: {known}.")
            parts.setdefault(part, {}).update(below)
    test = {n: s for n, s in parts.get("test", {}).items()}
    train = parts.get("train") or _without_parts({name: short for name, short in inner.items() if name not in test})
    found = Arranged({n: s for n, s in sorted(train.items()) if n not in test}, test or None)
    if not found.train:
        raise UserError("--split leaves nothing to train on: name a folder as train=FOLDER.")
    found.train, found.test = _entered(found.train), _entered(found.test) if found.test else None
    found.enter()
    if left_out := [name for name in inner if name not in found.train and name not in test]:
        found.notes.append(f"{len(left_out):,} pictures are in no folder of --split, as {shown(left_out[0])}.")
    return found


def _without_parts(inner: dict[str, str]) -> dict[str, str]:
    """Names without their first folders, where all of these name parts."""
    return _below(inner) if all(named_part(folder) for folder in _folders(inner.values())) else inner


def _classed(found: Arranged, *, as_classes: bool = False) -> Arranged:
    """With classes, where the folders are any, and notes on what is no class."""
    own = [short for name, short in found.train.items() if name not in found.unlabelled]
    shorts = [*own, *(found.test or {}).values()]
    classes = _class_folders(shorts)
    albums = [name for name in classes if _is_album(name)]
    if as_classes:
        classes = sorted(_folders(shorts) - {""})
    elif not classes:
        found.class_notes += _loose(shorts)
    elif 2 * len(albums) >= len(classes):
        told = ", ".join(map(shown, albums[:3]))
        found.class_notes.append(
            f"The folders are not taken for classes: they are called by dates, albums or cameras, as {told}; "
            "--labels folders takes them."
        )
        classes = []
    found.classes = classes
    return found


def unmatched(ours: Collection[str], theirs: Collection[str], what: str = "class", of: str = "sample") -> list[str]:
    """A note on classes that the training part and the held-out part do not share."""
    ours, theirs = set(ours), set(theirs)
    if not ours & theirs:
        return [f"The training and the test part share no {what}, so these are ignored."]
    told = [f"No training {of} is of the test {what} {_some(theirs - ours)}"] if theirs - ours else []
    if ours - theirs:
        start = "no held-out one is of" if told else f"No held-out {of} is of the {what}"
        told.append(f"{start} {_some(ours - theirs)}")
    return [f"{', and '.join(told)}."] if told else []


def _some(classes: Collection[str]) -> str:
    """Names of classes, the first few of many."""
    told = ", ".join(map(shown, sorted(classes)[:5]))
    return told if len(classes) <= 5 else f"{told} and {len(classes) - 5:,} more"


def _class_folders(inner: Iterable[str]) -> list[str]:
    """Class folders, sorted; none unless every picture lies in one and there are two at least."""
    folders = _folders(inner)
    return sorted(folders) if "" not in folders and len(folders) > 1 else []


def _folders(inner: Iterable[str]) -> set[str]:
    """The first folders of names; "" where one has none."""
    return {folder_of(short) for short in inner}


def folder_of(short: str) -> str:
    """The first folder of a name; "" where it has none."""
    top, slash, _ = short.partition("/")
    return top if slash else ""


def _is_album(folder: str) -> bool:
    """Whether a folder is called by a date or by a camera."""
    plain = folder.strip()
    return bool(_DATED.match(plain) or _OF_A_CAMERA.fullmatch(plain)) or plain.lower() in _OF_CAMERAS


def _loose(inner: Sequence[str]) -> list[str]:
    """A note on pictures that lie beside what would be class folders or splits."""
    loose = [name for name in inner if "/" not in name]
    if not loose or len(loose) == len(inner):
        return []
    told = f"since {shown(loose[0])} lies beside them; move it into one or away"
    return [f"The folders are not taken for classes, {told}."]


def _seemingly(inner: Mapping[str, str]) -> list[str]:
    """A note on folders that name parts and are taken for classes."""
    tops = sorted({folder for short in inner.values() if (folder := folder_of(short))})
    kinds = {top: role[0] for top in tops if (role := named_part(top))}
    others = [top for top in tops if top not in kinds]
    if TRAIN not in kinds.values() or len(set(kinds.values())) < 2 or not others:
        return []
    told = " and ".join(f"{shown(top)}/" for top in list(kinds)[:2])
    why = f"since {shown(others[0])}/ lies beside them and they share no class folder"
    return [f"{told} are not taken for splits, {why}."]
