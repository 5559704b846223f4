"""MovieLens files -> a log: real ratings of real films, as an ordinary loader reads them."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import polars as pl
import zipcodes
from polars.exceptions import PolarsError

from storage.loading.log import LoadError, Log
from storage.loading.mapping import Mapping, load_mapping
from storage.loading.reading.typed_events import scale, typed_events
from storage.loading.values.times import to_times

MOVIELENS_LICENCE = """\
MovieLens data, by GroupLens Research, University of Minnesota.
Free for research. You may not use it commercially or redistribute it without the
permission of GroupLens, nor say or imply that the university or GroupLens endorses you.
Neither vouches for the data's correctness or fitness. Cite:
F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and
Context. ACM TiiS 5, 4, Article 19. https://doi.org/10.1145/2827872"""

SAMPLE_PACKAGE = "recbole"
SAMPLE_VERSION = "1.2.1"
SAMPLE_FOLDER = "recbole/dataset_example/ml-100k"
SAMPLE_HASHES = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}
SHARED_TAG_USERS = 2  # a tag that fewer people gave a film says more of them than of the film
RATING = ("user_id", "item_id", "rating", "timestamp")
NO_GENRE = ("(no genres listed)", "unknown")


def sample_path() -> Path:
    """Folder of MovieLens 100K as the wheel ``recbole==1.2.1`` carries it; nothing is imported.

    Raises:
        LoadError: the wheel is not installed, or a file is not what it was.
    """
    fix = "Run `make sample-data`, which installs the pinned wheel that carries it."
    try:
        folder = Path(str(distribution(SAMPLE_PACKAGE).locate_file(SAMPLE_FOLDER)))
    except PackageNotFoundError as error:
        raise LoadError(f"The MovieLens sample is not installed. {fix}") from error
    for name, expected in SAMPLE_HASHES.items():
        file = folder / name
        if not file.is_file():
            raise LoadError(f"{file}: no such file. {fix}")
        if hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise LoadError(
                f"{file} is not the file of {SAMPLE_PACKAGE} {SAMPLE_VERSION}: its SHA-256 "
                f"differs. {fix}"
            )
    return folder


def is_one(path: Path) -> bool:
    """Whether a folder holds MovieLens, and no log under our own names."""
    if not path.is_dir() or any(path.glob("interactions*")):
        return False
    if (path / "ratings.csv").is_file() and (path / "movies.csv").is_file():
        return True
    return any(path.glob("ml-*.inter"))


def read(path: Path, mapping: Mapping | None = None) -> Log:
    """Read a folder of MovieLens: ratings.csv and movies.csv, or RecBole's atomic files.

    Ratings become interaction types by ``mapping`` (default: mappings/movielens.yaml),
    genres tags of the item, age, gender and occupation attributes of the user, and a US
    zip code the user's place. There are no owners. What the files do not say is taken
    from the log: an item is created when it is first rated, a user likewise.

    Raises:
        LoadError: the files are not there, or not of this kind.
    """
    if mapping is None or "rating" not in mapping.thresholds:
        mapping = load_mapping("movielens")
    atomic = next(iter(sorted(path.glob("*.inter"))), None) if path.is_dir() else None
    if atomic is None and not (path / "ratings.csv").is_file():
        there = ", ".join(sorted(file.name for file in path.iterdir())) if path.is_dir() else path
        raise LoadError(
            f"{path}: no ratings.csv and no *.inter (there: {there}). Give the folder that "
            "holds the MovieLens files."
        )
    try:
        ratings, items, users, sources = _atomic(atomic) if atomic else _classic(path)
    except PolarsError as error:
        message = str(error).strip().partition("\n")[0]
        raise LoadError(
            f"{path} does not hold MovieLens files as GroupLens or RecBole write them: {message}. "
            "Get them again."
        ) from error
    seconds = to_times(ratings["timestamp"], mapping.time_format)
    interactions = typed_events(
        ratings.select(
            "user_id", "item_id", occurred_at=seconds, **{scale("rating"): pl.col("rating")}
        ),
        mapping,
    )
    return Log(
        interactions=interactions.select("user_id", "item_id", "type", "occurred_at"),
        users=_first_seen(users, interactions, "user_id"),
        items=_first_seen(items, interactions, "item_id"),
        sources=sources,
        raw={"interactions": ratings},
        notice=MOVIELENS_LICENCE,
        ends_now=True,
    )


_Frames = tuple[pl.DataFrame, pl.DataFrame | None, pl.DataFrame | None, dict[str, str]]


def _atomic(inter: Path) -> _Frames:
    """Ratings, items, users of RecBole's atomic files: tabs, and a header of name:type."""
    ratings = _tabs(inter)
    if missing := [name for name in RATING if name not in ratings.columns]:
        need = " Times are needed." if "timestamp" in missing else ""
        raise LoadError(
            f"{inter}: no column {', '.join(missing)}.{need} `feedwright map {inter.parent}` "
            "writes a mapping for what is there; load it with --mapping."
        )
    files = {"interactions": inter}
    items = users = None
    if (file := inter.with_suffix(".item")).is_file():
        files["items"] = file
        items = _films(_tabs(file))
    if (file := inter.with_suffix(".user")).is_file():
        files["users"] = file
        users = _people(_tabs(file))
    return ratings.select(RATING), items, users, {e: file.name for e, file in files.items()}


def _films(films: pl.DataFrame) -> pl.DataFrame:
    genres = _first_of(films, ("class", "genre", "genres"))
    return films.select(
        id="item_id",
        title=_first_of(films, ("movie_title", "title")),
        tags=_genres(genres.str.split(" ")),
        attributes=_attributes(
            year=_first_of(films, ("release_year",)).cast(pl.Int32, strict=False)
        ),
    )


def _people(people: pl.DataFrame) -> pl.DataFrame:
    people = people.with_columns(
        _first_of(people, (name,)).alias(name)
        for name in ("age", "gender", "occupation", "zip_code")
    )
    return people.join(_places(people["zip_code"]), on="zip_code", how="left").select(
        "lat",
        "lon",
        "city",
        id="user_id",
        attributes=_attributes(
            age=pl.col("age").cast(pl.Int32, strict=False),
            gender=pl.col("gender"),
            occupation=pl.col("occupation"),
        ),
    )


def _first_of(frame: pl.DataFrame, names: tuple[str, ...]) -> pl.Expr:
    """The first of these columns that is there; without any, nothing."""
    there = next((name for name in names if name in frame.columns), None)
    return pl.col(there) if there else pl.lit(None, dtype=pl.String)


def _classic(folder: Path) -> _Frames:
    """Ratings and items of ratings.csv, movies.csv and, if there, tags.csv (ml-latest-small)."""
    ratings = pl.read_csv(folder / "ratings.csv", infer_schema=False).select(
        "rating", "timestamp", user_id="userId", item_id="movieId"
    )
    sources = {"interactions": "ratings.csv"}
    if not (folder / "movies.csv").is_file():
        return ratings, None, None, sources
    year = r"\((\d{4})\)\s*$"
    items = pl.read_csv(folder / "movies.csv", infer_schema=False).select(
        id="movieId",
        title=pl.col("title").str.replace(year, "").str.strip_chars(),
        tags=_genres(pl.col("genres").str.split("|")),
        attributes=_attributes(year=pl.col("title").str.extract(year).cast(pl.Int32)),
    )
    if (folder / "tags.csv").is_file():
        shared = (
            pl.read_csv(folder / "tags.csv", infer_schema=False)
            .with_columns(tag=pl.col("tag").str.strip_chars().str.to_lowercase())
            .group_by(id="movieId", tag="tag", maintain_order=True)
            .agg(users=pl.col("userId").n_unique())
            .filter(pl.col("users") >= SHARED_TAG_USERS)
            .group_by("id", maintain_order=True)
            .agg(given="tag")
        )
        items = (
            items.join(shared, on="id", how="left", maintain_order="left")
            .with_columns(
                pl.col("tags")
                .list.concat(pl.col("given").fill_null([]))
                .list.unique(maintain_order=True)
            )
            .drop("given")
        )
    return ratings, items, None, sources | {"items": "movies.csv"}


def _tabs(file: Path) -> pl.DataFrame:
    frame = pl.read_csv(file, separator="\t", quote_char=None, infer_schema=False)
    return frame.rename(lambda name: name.partition(":")[0])


def _genres(names: pl.Expr) -> pl.Expr:
    """Lists of genres without those that say there is none."""
    kept = pl.element().filter(~pl.element().is_in(NO_GENRE) & (pl.element() != ""))
    return names.list.eval(kept).fill_null([])


def _attributes(**values: pl.Expr) -> pl.Expr:
    return pl.struct(value.alias(name) for name, value in values.items()).struct.json_encode()


def _places(zip_codes: pl.Series) -> pl.DataFrame:
    """zip_code, lat, lon, city of the US zip codes that are real."""
    codes = zip_codes.drop_nulls().unique()
    codes = codes.filter(codes.str.contains(r"^\d{5}$"))
    located = [(code, match[0]) for code in codes if (match := zipcodes.matching(code))]
    return pl.DataFrame(
        {
            "zip_code": [code for code, _ in located],
            "lat": [float(location["lat"]) for _, location in located],
            "lon": [float(location["long"]) for _, location in located],
            "city": [location["city"] for _, location in located],
        },
        schema={"zip_code": pl.String, "lat": pl.Float64, "lon": pl.Float64, "city": pl.String},
    )


def _first_seen(
    rows: pl.DataFrame | None, interactions: pl.DataFrame, name: str
) -> pl.DataFrame | None:
    """``rows`` with created_at: the first interaction, or the log's when there is none."""
    if rows is None:
        return None
    first = interactions.group_by(id=name).agg(created_at=pl.col("occurred_at").min())
    start = pl.lit(interactions["occurred_at"].min(), dtype=interactions.schema["occurred_at"])
    return rows.join(first, on="id", how="left", maintain_order="left").with_columns(
        pl.col("created_at").fill_null(start)
    )
