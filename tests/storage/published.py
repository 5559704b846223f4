"""Public data sets as they are published, rebuilt small: their files, names and forms, own data.

Each: name -> (files, what `map` and `load` must make of them). ``log`` has the good interactions
as (user, item, type, day or None), the first ones; ``titles`` items by id; ``n`` how many.
"""

# Lines are as long as they are in those files.
# ruff: noqa: E501

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Published:
    """``first``: user, item, type, time of the first interaction; ``rows``: how many there are."""

    files: dict[str, str | bytes]
    rows: int
    first: tuple[str | None, str, str, str | None]
    titles: dict[str, str] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    """What the proposal says."""


def lines(*rows: Any) -> str:
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)


def table(rows: list[tuple[Any, ...]], by: str) -> str:
    return lines(*(by.join(map(str, row)) for row in rows))


def gz(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


# users 1-4, items 10-13: enough that ids come again
PAIRS = [(1, 10), (1, 11), (2, 10), (2, 12), (3, 10), (3, 13), (4, 11), (4, 12)]
STARS = [5, 3, 4, 1, 2, 5, 4, 3]
START = 978_300_760
FILMS = {10: "The Tin Kite (1994)", 11: "Salt, and Rain (1987)", 12: "Été à Brest (2001)",
         13: "Nine Doors (1999)"}  # fmt: skip
GENRES = {10: "Animation|Children", 11: "Drama", 12: "Comedy|Drama", 13: "Thriller"}


def rated(by: str, *, millis: bool = False, order: str = "uirt") -> str:
    rows = []
    for at, ((user, item), stars) in enumerate(zip(PAIRS, STARS, strict=True)):
        moment = (START + 3_600 * at) * (1_000 if millis else 1)
        cells = {"u": user, "i": item, "r": stars, "t": moment}
        rows.append(tuple(cells[letter] for letter in order))
    return table(rows, by)


ASINS = ["B000KITE10", "B000RAIN11", "0306406152", "B000DOOR13"]
WRITERS = ["A1KITEREADER01", "A2RAINREADER02", "A3DOORREADER03"]
BOUGHT = [(0, 0), (0, 1), (1, 0), (1, 2), (2, 3), (2, 0)]

DAY = "2001-01-01"  # UTC of START + a few seconds is 2000-12-31T22:12:40
FIRST = "2000-12-31T22:12:40Z"

SETS: dict[str, Published] = {
    "movielens-100k": Published(
        {
            "u.data": rated("\t"),
            "u.item": table(
                [(i, f, "01-Jan-1994", "", f"http://example.org/?{i}", 0, 1, 0) for i, f in FILMS.items()],
                "|",
            ).encode("latin-1"),
            "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n3|23|M|writer|32067\n4|24|M|other|43537\n",
            "u.genre": "unknown|0\nAction|1\n",
            "README": "SUMMARY & USAGE LICENSE\n",
        },
        8, ("1", "10", "like", FIRST), {"12": "Été à Brest (2001)"},
        said=("no header", "windows-1252"),
    ),
    "movielens-1m": Published(
        {
            "ratings.dat": rated("::"),
            "movies.dat": table([(i, f, GENRES[i]) for i, f in FILMS.items()], "::").encode("latin-1"),
            "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
        },
        8, ("1", "10", "like", FIRST), {"11": "Salt, and Rain (1987)"}, {"10": ["Animation", "Children"]},
    ),
    "movielens-25m": Published(
        {
            "ratings.csv": "userId,movieId,rating,timestamp\n" + rated(","),
            "movies.csv": "movieId,title,genres\n"
            + lines(*(f'{i},"{f}",{GENRES[i]}' for i, f in FILMS.items())),
            "tags.csv": "userId,movieId,tag,timestamp\n1,10,kites,1137179352\n",
            "links.csv": "movieId,imdbId,tmdbId\n10,0114709,862\n11,0113497,8844\n",
        },
        8, ("1", "10", "like", FIRST), {"11": "Salt, and Rain (1987)"}, {"10": ["Animation", "Children"]},
    ),
    "amazon-2014": Published(
        {
            "reviews_Toys_5.json.gz": gz(lines(*(
                {"reviewerID": WRITERS[u], "asin": ASINS[i], "reviewerName": "R.", "helpful": [0, 1],
                 "reviewText": "good", "overall": 5.0, "summary": f"s{u}{i}",
                 "unixReviewTime": START, "reviewTime": "12 31, 2000"} for u, i in BOUGHT))),
            "meta_Toys.json.gz": gz(lines(*(
                str({"asin": asin, "title": f"Toy {n}", "price": 3.5, "categories": [["Toys", "Kites"]],
                     "imUrl": "http://example.org/x.jpg"}) for n, asin in enumerate(ASINS)))),
        },
        6, (WRITERS[0], ASINS[0], "like", FIRST), {ASINS[1]: "Toy 1"}, {ASINS[0]: ["Toys", "Kites"]},
    ),
    "amazon-2018": Published(
        {
            "Toys.json.gz": gz(lines(*(
                {"overall": 4.0, "verified": True, "reviewTime": "12 31, 2000", "reviewerID": WRITERS[u],
                 "asin": ASINS[i], "style": {"Color:": " Red"}, "reviewText": "fine",
                 "unixReviewTime": START} for u, i in BOUGHT))),
        },
        6, (WRITERS[0], ASINS[0], "like", FIRST),
    ),
    "amazon-2023": Published(
        {
            "Toys.jsonl": lines(*(
                {"rating": 2.0, "title": f"Review {u}{i}", "text": f"about {u} and {i}", "images": [],
                 "asin": f"B0VARIANT{i}", "parent_asin": ASINS[i], "user_id": WRITERS[u],
                 "timestamp": START * 1_000 + 123, "helpful_vote": 0, "verified_purchase": True}
                for u, i in BOUGHT)),
            "meta_Toys.jsonl": lines(*(
                {"main_category": "Toys", "title": f"Toy {n}", "average_rating": 4.1, "features": ["f"],
                 "description": ["d"], "price": None if n else "12.50", "store": "Kite & Co",
                 "categories": ["Toys", "Kites"], "details": {"Age": "8"}, "parent_asin": asin}
                for n, asin in enumerate(ASINS))),
        },
        6, (WRITERS[0], ASINS[0], "dismiss", "2000-12-31T22:12:40Z"), {ASINS[2]: "Toy 2"},
    ),
    "amazon-ratings-only": Published(
        {"ratings_Toys.csv": table([(WRITERS[u], ASINS[i], 5.0, START) for u, i in BOUGHT], ",")},
        6, (WRITERS[0], ASINS[0], "like", FIRST), said=("no header",),
    ),
    "amazon-ratings-only-2018": Published(
        {"Toys.csv": table([(ASINS[i], WRITERS[u], 5.0, START) for u, i in BOUGHT], ",")},
        6, (WRITERS[0], ASINS[0], "like", FIRST),
    ),
    "yelp": Published(
        {
            "yelp_academic_dataset_review.json": lines(*(
                {"review_id": f"rv{u}{i}xkQ", "user_id": f"us{u}Kd", "business_id": f"bz{i}Pq", "stars": 4.0,
                 "useful": 0, "funny": 0, "cool": 0, "text": f"Went {u} to {i}.\nFine.",
                 "date": "2018-07-07 22:09:11"} for u, i in BOUGHT)),
            "yelp_academic_dataset_business.json": lines(*(
                {"business_id": f"bz{n}Pq", "name": f"Café {n}", "address": "1 St", "city": "Ulm",
                 "state": "BW", "postal_code": "89073", "latitude": 48.4 + n, "longitude": 9.98,
                 "stars": 4.5, "review_count": 7, "is_open": 1, "attributes": {"WiFi": "u'free'"},
                 "categories": "Cafes, Food", "hours": None} for n in range(4))),
            "yelp_academic_dataset_user.json": lines(*(
                {"user_id": f"us{n}Kd", "name": "Ann", "review_count": 3, "yelping_since": "2010-01-01 10:00:00",
                 "friends": "None", "fans": 0} for n in range(3))),
            "yelp_academic_dataset_checkin.json": lines(
                {"business_id": "bz0Pq", "date": "2016-04-26 19:49:16, 2016-08-30 18:36:57"}),
        },
        6, ("us0Kd", "bz0Pq", "like", "2018-07-07T22:09:11Z"), {"bz1Pq": "Café 1"}, {"bz0Pq": ["Cafes", "Food"]},
    ),
    "gowalla": Published(
        {
            "loc-gowalla_totalCheckins.txt": table(
                [(u, f"2010-10-19T23:55:2{n}Z", 30.2359091 + i, -97.79514 - i, 22847 + i)
                 for n, (u, i) in enumerate(BOUGHT)], "\t"),
            "loc-gowalla_edges.txt": "0\t1\n0\t2\n1\t2\n",
        },
        6, ("0", "22847", "click", "2010-10-19T23:55:20Z"),
    ),
    "foursquare-tsmc": Published(
        {
            "dataset_TSMC2014_NYC.txt": table(
                [(470 + u, f"49bbd6c0f964a520f453{i}fe3", "4bf58dd8d48988d127951735", "Arts & Crafts Store",
                  40.719810375 + i, -74.00258103 - i, -240, f"Tue Apr 03 18:00:0{n} +0000 2012")
                 for n, (u, i) in enumerate(BOUGHT)], "\t").replace("Arts", "Caf\xe9").encode("latin-1"),
        },
        6, ("470", "49bbd6c0f964a520f4530fe3", "click", "2012-04-03T18:00:00Z"),
    ),
    "lastfm-360k": Published(
        {
            "usersha1-artmbid-artname-plays.tsv": table(
                [(f"{u}0000c289a1829a808ac09c00daf10bc3c4e223b", f"{i}bd59b9-0e3b-45e1-bc9c-4ba0e5ad1f0{i}",
                  f'band "{i}" of noise', 2137 - 300 * i) for u, i in BOUGHT], "\t"),
            "usersha1-profile.tsv": "00000c289a1829a808ac09c00daf10bc3c4e223b\tf\t22\tGermany\tFeb 1, 2007\n",
        },
        6, ("00000c289a1829a808ac09c00daf10bc3c4e223b", "0bd59b9-0e3b-45e1-bc9c-4ba0e5ad1f00", "like", None),
        {"1bd59b9-0e3b-45e1-bc9c-4ba0e5ad1f01": 'band "1" of noise'}, said=("default_time: order",),
    ),
    "lastfm-hetrec": Published(
        {
            "user_artists.dat": "userID\tartistID\tweight\n"
            + table([(2 + u, 51 + i, 13883 - 99 * u - i) for u, i in BOUGHT], "\t"),
            "artists.dat": "id\tname\turl\tpictureURL\n"
            + table([(51 + n, f"Band {n}", "http://e.org/a", "http://e.org/p") for n in range(4)], "\t"),
            "user_friends.dat": "userID\tfriendID\n2\t275\n2\t428\n",
            "tags.dat": "tagID\ttagValue\n1\tmetal\n2\talternative m\xe9tal\n".encode("latin-1"),
        },
        6, ("2", "51", "like", None), {"52": "Band 1"},
    ),
    "mind": Published(
        {
            "behaviors.tsv": table(
                [(n + 1, f"U1374{u}", f"11/{11 + n}/2019 9:05:58 AM", "N55189 N42782", f"N55{i}89-0 N35{u}29-1")
                 for n, (u, i) in enumerate(BOUGHT)], "\t"),
            "news.tsv": table(
                [(f"N55{i}89", "lifestyle", "lifestyleroyals", f'The brands "Queen {i}" swears by',
                  "Shop the notebooks, jackets, and more.", "https://example.org/AAGH0ET.html",
                  '[{"Label": "Prince", "Type": "P"}]', "[]") for i in range(4)], "\t"),
            "entity_embedding.vec": "Q41\t-0.063\t0.181\n",
        },
        12, ("U13740", "N55089", "impression", "2019-11-11T09:05:58Z"), {"N55189": 'The brands "Queen 1" swears by'},
    ),
    "retailrocket": Published(
        {
            "events.csv": "timestamp,visitorid,event,itemid,transactionid\n"
            + lines(*(f"{1433221332117 + n},{25759 + u},{['view', 'addtocart', 'transaction'][n % 3]},"
                      f"{355908 + i},{'' if n % 3 < 2 else 4000 + n}" for n, (u, i) in enumerate(BOUGHT))),
            "item_properties_part1.csv": "timestamp,itemid,property,value\n"
            "1435460400000,355908,categoryid,1338\n1441508400000,355908,888,1116713 960601 n277.200\n",
            "category_tree.csv": "categoryid,parentid\n1016,213\n809,169\n",
        },
        6, ("25759", "355908", "view", "2015-06-02T05:02:12Z"),
    ),
    "yoochoose": Published(
        {
            "yoochoose-clicks.dat": table(
                [(1 + u, f"2014-04-07T10:51:0{n}.277Z", 214536500 + i, 0) for n, (u, i) in enumerate(BOUGHT)], ","),
            "yoochoose-buys.dat": "1,2014-04-07T18:44:58.315Z,214536502,1046,1\n",
        },
        6, ("1", "214536500", "click", "2014-04-07T10:51:00Z"),
    ),
    "diginetica": Published(
        {
            "train-item-views.csv": "sessionId;userId;itemId;timeframe;eventdate\n"
            + lines(*(f"{1 + u};NA;{81766 + i};{526309 + n};2016-05-09" for n, (u, i) in enumerate(BOUGHT))),
            "products.csv": "itemId;pricelog2;product.name.tokens\n"
            + lines(*(f"{81766 + n};7;4875,776,5{n}" for n in range(4))),
        },
        6, ("1", "81766", "click", "2016-05-09T00:00:00Z"), said=("semicolons",),
    ),
    "taobao": Published(
        {
            "UserBehavior.csv": lines(*(
                f"{1 + u},{2268318 + i},{2520377 + i},{['pv', 'cart', 'fav', 'buy'][n % 4]},{1511544070 + n}"
                for n, (u, i) in enumerate(BOUGHT))),
        },
        6, ("1", "2268318", "view", "2017-11-24T17:21:10Z"), said=("pv: view", "buy: apply"),
    ),
    "hm": Published(
        {
            "transactions_train.csv": "t_dat,customer_id,article_id,price,sales_channel_id\n"
            + lines(*(f"2018-09-2{n},000058a12d5b43e{u},066354100{i},0.0508,2" for n, (u, i) in enumerate(BOUGHT))),
            "articles.csv": "article_id,product_code,prod_name,product_type_name,detail_desc\n"
            + lines(*(f'066354100{n},6635410,Strap top {n},Vest,"Jersey top, with straps"' for n in range(4))),
            "customers.csv": "customer_id,FN,Active,age,postal_code\n000058a12d5b43e0,,,49,52043ee2\n",
        },
        6, ("000058a12d5b43e0", "0663541000", "apply", "2018-09-20T00:00:00Z"), {"0663541001": "Strap top 1"},
    ),
    "instacart": Published(
        {
            "order_products__prior.csv": "order_id,product_id,add_to_cart_order,reordered\n"
            + lines(*(f"{2 + u},{33120 + i},{n + 1},1" for n, (u, i) in enumerate(BOUGHT))),
            "products.csv": "product_id,product_name,aisle_id,department_id\n"
            + lines(*(f'{33120 + n},"Eggs, no. {n}",86,16' for n in range(4))),
            "aisles.csv": "aisle_id,aisle\n1,prepared soups salads\n",
        },
        6, ("2", "33120", "click", None), {"33121": "Eggs, no. 1"}, said=("default_time: order",),
    ),
    "goodreads": Published(
        {
            "goodreads_interactions_poetry.json.gz": gz(lines(*(
                {"user_id": f"8842281e1d1347389f2ab93d60773d4{u}", "book_id": f"{1384 + i}",
                 "review_id": f"{u}{i}a", "is_read": True, "rating": [0, 3, 5, 0, 4, 2][n], "review_text_incomplete": "",
                 "date_added": "Sun Jul 30 07:44:10 -0700 2017", "date_updated": "", "read_at": "",
                 "started_at": ""} for n, (u, i) in enumerate(BOUGHT)))),
            "goodreads_books_poetry.json.gz": gz(lines(*(
                {"isbn": "", "book_id": f"{1384 + n}", "title": f"Poems {n}", "authors": [{"author_id": "1"}],
                 "description": "verse", "publication_year": "2009"} for n in range(4)))),
        },
        6, ("8842281e1d1347389f2ab93d60773d40", "1384", "view", "2017-07-30T14:44:10Z"), {"1385": "Poems 1"},
    ),
    "book-crossing": Published(
        {
            "BX-Book-Ratings.csv": '"User-ID";"ISBN";"Book-Rating"\n'
            + lines(*(f'"{276725 + u}";"034545104{i}";"{[0, 8, 7, 3, 10, 0][n]}"' for n, (u, i) in enumerate(BOUGHT))),
            "BX-Books.csv": ('"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher"\n'
            + lines(*(f'"034545104{n}";"Caf\xe9 \\"{n}\\" &amp; Co; a novel";"A. B.";"2002";"P"' for n in range(4)))
            ).encode("latin-1"),
            "BX-Users.csv": '"User-ID";"Location";"Age"\n"276725";"tyler, texas, usa";NULL\n'.encode("latin-1"),
        },
        6, ("276725", "0345451040", "view", None), {"0345451041": 'Caf\xe9 "1" &amp; Co; a novel'},
        said=("windows-1252", "semicolons"),
    ),
    "steam-reviews": Published(
        {
            "steam_reviews.json.gz": gz(lines(*(
                str({"username": f"Chaos Syren {u}", "hours": 0.1 + n, "products": 41, "product_id": f"7259{i}",
                     "page_order": 0, "date": "2017-12-17", "text": "This would not be \"it\"", "early_access": False})
                .replace("{'", "{u'").replace(", '", ", u'") for n, (u, i) in enumerate(BOUGHT)))),
        },
        6, ("Chaos Syren 0", "72590", "click", "2017-12-17T00:00:00Z"),
    ),
    "steam-200k": Published(
        {
            "steam-200k.csv": lines(*(
                f'{151603712 + u},"The Elder Game {i}, Part 2",{kind},{hours},0'
                for u, i in BOUGHT for kind, hours in (("purchase", "1.0"), ("play", "273.0")))),
        },
        12, ("151603712", "The Elder Game 0, Part 2", "apply", None),
    ),
    "beeradvocate": Published(
        {
            "beer_reviews.csv": "brewery_id,brewery_name,review_time,review_overall,review_aroma,"
            "review_profilename,beer_style,beer_name,beer_abv,beer_beerid\n"
            + lines(*(f"10325,Vecchio,{1234817823 + n},1.5,2.0,stcules{u},Hefeweizen,Sausa {i},5,{47986 + i}"
                      for n, (u, i) in enumerate(BOUGHT))),
        },
        6, ("stcules0", "47986", "dismiss", "2009-02-16T20:57:03Z"),
    ),
    "recbole": Published(
        {
            "beauty.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            + table([(WRITERS[u], ASINS[i], 4.0, float(START)) for u, i in BOUGHT], "\t"),
            "beauty.item": "item_id:token\ttitle:token_seq\tcategories:token_seq\tprice:float\n"
            + table([(asin, f'Cream "{n}"', "'Skin', 'Face'", 9.5) for n, asin in enumerate(ASINS)], "\t"),
        },
        6, (WRITERS[0], ASINS[0], "like", FIRST), {ASINS[1]: 'Cream "1"'},
    ),
    "pinterest": Published(
        {"pinterest-20.train.rating": table([(u, i, 1, 0) for u, i in BOUGHT], "\t")},
        6, ("0", "0", "click", None), said=("default_time: order",),
    ),
    "epinions": Published(
        {"ratings_data.txt": table([(1 + u, 100 + i, 4 - u) for u, i in BOUGHT], " "),
         "trust_data.txt": " 22605 42915 1\n 22605 5052 1\n"},
        6, ("1", "100", "like", None), said=("spaces",),
    ),
    "anime": Published(
        {
            "rating.csv": "user_id,anime_id,rating\n"
            + lines(*(f"{1 + u},{20 + i},{[-1, 9, 10, 7, -1, 2][n]}" for n, (u, i) in enumerate(BOUGHT))),
            "anime.csv": "anime_id,name,genre,type,episodes,rating,members\n"
            + lines(*(f'{20 + n},"Kimi no, {n}","Drama, Romance",Movie,1,9.37,200630' for n in range(4))),
        },
        6, ("1", "20", "view", None), {"21": "Kimi no, 1"}, {"20": ["Drama", "Romance"]},
    ),
    "jester": Published(
        {"jester_ratings.dat": lines(*(
            f"{1 + u}\t\t{5 + i}\t\t{[0.219, -9.281, 9.0, -6.781, 0.875, -9.656][n]}"
            for n, (u, i) in enumerate(BOUGHT)))},
        6, ("1", "5", "click", None),
    ),
    "kuairec": Published(
        {
            "big_matrix.csv": "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"
            + lines(*(f"{u},{3649 + i},13838,10867,2020-07-05 00:08:2{n}.438,20200705,159387890{n}.438,1.27"
                      for n, (u, i) in enumerate(BOUGHT))),
        },
        6, ("0", "3649", "like", "2020-07-04T16:08:20Z"),
    ),
    "million-songs": Published(
        {"train_triplets.txt": table(
            [(f"b80344d063b5ccb3212f76538f3d9e43d87dca{u}e", f"SOAKIMP12A8C1309{i}5", 1 + 5 * n)
             for n, (u, i) in enumerate(BOUGHT)], "\t")},
        6, ("b80344d063b5ccb3212f76538f3d9e43d87dca0e", "SOAKIMP12A8C130905", "click", None),
    ),
    "otto": Published(
        {"train.jsonl": lines(*(
            {"session": u, "events": [{"aid": 1517085 + i, "ts": 1659304800025 + i, "type": kind}
                                      for i, kind in enumerate(("clicks", "carts", "orders"))]}
            for u in range(3)))},
        9, ("0", "1517085", "click", "2022-07-31T22:00:00Z"), said=("rows: events",),
    ),
    "lfm-1b": Published(
        {"LFM-1b_LEs.txt": table(
            [(31435741 + u, 20 + i, 4000 + i, 71004 + i, 1385212958 + n) for n, (u, i) in enumerate(BOUGHT)], "\t")},
        6, ("31435741", "20", "click", "2013-11-23T13:22:38Z"),
    ),
    "lastfm-1k": Published(
        {"userid-timestamp-artid-artname-traid-traname.tsv": table(
            [(f"user_00000{u}", f"2009-05-04T23:08:5{n}Z", f"f1b1cf71-bd35-4e99-8624-24a6e15f133{i}",
              f"Deep Dish {i}", "", f"Night Set {i}")
             for n, (u, i) in enumerate(BOUGHT)], "\t")},
        6, ("user_000000", "f1b1cf71-bd35-4e99-8624-24a6e15f1330", "click", "2009-05-04T23:08:50Z"),
        {"f1b1cf71-bd35-4e99-8624-24a6e15f1331": "Deep Dish 1"},
    ),
    "ecommerce-multi-category": Published(
        {"2019-Oct.csv": "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
         + lines(*(f"2019-10-01 00:00:0{n} UTC,{['view', 'cart', 'purchase'][n % 3]},{44600062 + i},"
                   f"2103807459595387724,electronics.{i},shiseido,35.79,{541312140 + u},72d76fde-8bb3-4e00"
                   for n, (u, i) in enumerate(BOUGHT)))},
        6, ("541312140", "44600062", "view", "2019-10-01T00:00:00Z"),
    ),
}  # fmt: skip
