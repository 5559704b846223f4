"""More public data sets as they are published: logs of flags, relative clocks, blocks, lists, nested
JSON, partitions and names in other languages. See ``published``."""

# Lines are as long as they are in those files.
# ruff: noqa: E501

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

import polars as pl

from tests.storage.published import BOUGHT, DAY, FIRST, PAIRS, START, Published, lines, table


def by_column(rows: Iterable[dict[str, Any]]) -> bytes:
    """Parquet."""
    out = io.BytesIO()
    pl.DataFrame(list(rows)).write_parquet(out)
    return out.getvalue()


FLAGS = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1), (0, 0, 0), (1, 0, 0)]  # click, like, share

OTHERS: dict[str, Published] = {
    "tenrec": Published(
        {"QB-video.csv": "user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age\n"
         + lines(*(f"{1 + u},{400 + i},{c},0,{k},{s},1,{c},2,3"
                   for (u, i), (c, k, s) in zip(BOUGHT, FLAGS, strict=True)))},
        6, ("1", "400", "impression", None), said=("share: share", "click: click", "default_type: impression"),
    ),
    "kuairand": Published(
        {"log_standard_4_08_to_4_21_pure.csv":
         "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,play_time_ms,duration_ms,tab\n"
         + lines(*(f"{u},{7531 + i},20220408,1600,{1649404839123 + n},{c},{k},0,0,{s},{int(n == 4)},0,4000,8000,1"
                   for n, ((u, i), (c, k, s)) in enumerate(zip(BOUGHT, FLAGS, strict=True))))},
        6, ("0", "7531", "impression", "2022-04-08T08:00:39Z"), said=("is_hate: dismiss",),
    ),
    "clicks-and-buys": Published(
        {"log.csv": "user_id,item_id,timestamp,click,buy\n"
         + lines(*(f"{u},{i},{START + n},{int(n > 0)},{int(n == 2)}" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("0", "0", "impression", FIRST), said=("buy: apply",),
    ),
    "yambda": Published(
        {"listens.csv": "uid,timestamp,item_id,is_organic,played_ratio_pct\n"
         + lines(*(f"{100 + u},{4_000 + 5_000 * n},{8326270 + i},0,95" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("100", "8326270", "click", None), said=("default_time: order", "counts from its own start"),
    ),
    "criteo-attribution": Published(
        {"criteo_attribution_dataset.tsv": table(
            [("timestamp", "uid", "campaign", "conversion", "conversion_timestamp", "conversion_id", "attribution", "click", "cost", "cpo"),
             *((500 * n, 20073966 + u, 22589171 + i, int(n == 1), -1, -1, 0, int(n < 2), "1.0e-05", "0.39")
               for n, (u, i) in enumerate(BOUGHT))], "\t")},
        6, ("20073966", "22589171", "click", None), said=("conversion: apply",),
    ),
    "trivago": Published(
        {"train.csv": "user_id,session_id,timestamp,step,action_type,reference,platform,city,device,current_filters,impressions,prices\n"
         + lines(*(f"00RL8Z82B{u},aff3928535f4{u},{1541037460 + n},{n + 1},{'clickout item' if n else 'search for item'},{666856 + i},AU,\"Sydney, Australia\",mobile,,,"
                   for n, (u, i) in enumerate(BOUGHT)))},
        6, ("00RL8Z82B0", "666856", "click", "2018-11-01T01:57:40Z"),
    ),
    "brightkite": Published(
        {"loc-brightkite_totalCheckins.txt": table(
            [(u, f"2010-10-17T01:48:5{n}Z", ("39.747652", "39.75", "-6.2081")[i % 3], ("-104.99251", "-105.005", "106.84")[i % 3],
              f"88c46bf20db295831bd2d1718ad7e6f{i}") for n, (u, i) in enumerate(BOUGHT)], "\t")},
        6, ("0", "88c46bf20db295831bd2d1718ad7e6f0", "click", "2010-10-17T01:48:50Z"),
    ),
    "steam-australia": Published(
        {"australian_users_items.json": lines(*(
            str({"user_id": f"7656119797098248{u}", "items_count": 2, "steam_id": f"7656119797098248{u}", "user_url": "http://e.org",
                 "items": [{"item_id": f"{10 * (1 + i)}", "item_name": f"Game {i}", "playtime_forever": 6 * i, "playtime_2weeks": 0} for i in (u, u + 1)]})
            for u in range(4)))},
        8, ("76561197970982480", "10", "click", None), said=("rows: items",),
    ),
    "google-analytics": Published(
        {"events.json": lines(*(
            {"event_date": "20210131", "event_timestamp": str(1612069510766593 + n), "event_name": ["view_item", "add_to_cart", "purchase"][n % 3],
             "user_pseudo_id": f"121{u}.3401", "item_id": f"GGOE{i}", "device": {"category": "mobile"}}
            for n, (u, i) in enumerate(BOUGHT)))},
        6, ("1210.3401", "GGOE0", "view", "2021-01-31T05:05:10Z"), said=("purchase: apply",),
    ),
    "nested-json": Published(
        {"orders.jsonl": lines(*(
            {"user": {"id": 1 + u, "name": "Ann"}, "product": {"sku": f"K-{i}", "title": f"Kite {i}"}, "action": "buy",
             "ts": {"$date": f"2001-01-01T00:00:0{n}Z"}} for n, (u, i) in enumerate(BOUGHT)))},
        6, ("1", "K-0", "apply", f"{DAY}T00:00:00Z"), {"K-1": "Kite 1"},
    ),
    "mongodb-export": Published(
        {"ratings.json": lines(*(
            {"_id": {"$oid": f"5f{n}"}, "userId": {"$numberLong": str(70 + u)}, "productId": {"$oid": f"5fa0{i}"}, "rating": {"$numberInt": "5"},
             "at": {"$date": {"$numberLong": str(START * 1000 + n)}}} for n, (u, i) in enumerate(BOUGHT)))},
        6, ("70", "5fa00", "like", FIRST),
    ),
    "json-in-covers": Published(
        {"export.json": '{"status": "ok", "data": {"page": 1, "events": ['
         + ",".join(f'{{"user": "u{u}", "item": "i{i}", "event": "view", "time": {START + n}}}' for n, (u, i) in enumerate(BOUGHT)) + "]}}"},
        6, ("u0", "i0", "view", FIRST),
    ),
    "dunnhumby": Published(
        {"transaction_data.csv": "household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY,SALES_VALUE,STORE_ID,TRANS_TIME,WEEK_NO\n"
         + lines(*(f"{2375 + u},2698484747{n},{1 + n},{1004906 + i},{1 + i},1.39,364,1631,1" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("2375", "1004906", "click", None),
    ),
    "snap-foods": Published(
        {"foods.txt": "\n".join(
            f"product/productId: B00{i}E4KFG0\nreview/userId: A3SGXH7AUHU8G{u}\nreview/profileName: d. \xe9 {u}\nreview/helpfulness: 1/1\n"
            f"review/score: {5 - n % 3}.0\nreview/time: {1303862400 + n}\nreview/summary: Good: {u}{i}\nreview/text: I have bought: several.\n"
            for n, (u, i) in enumerate(BOUGHT)).encode("latin-1")},
        6, ("A3SGXH7AUHU8G0", "B000E4KFG0", "like", "2011-04-27T00:00:00Z"), said=("windows-1252",),
    ),
    "snap-ratebeer": Published(
        {"ratebeer.txt": "\n".join(
            f"beer/name: Ale {i}\nbeer/beerId: {63836 + i}\nbeer/brewerId: 8481\nbeer/ABV: 5\nbeer/style: Pale Ale\nreview/appearance: 4/5\n"
            f"review/overall: {[16, 13, 4][n % 3]}/20\nreview/time: {1157587200 + n}\nreview/profileName: hopdog{u}\nreview/text: on tap\n"
            for n, (u, i) in enumerate(BOUGHT))},
        6, ("hopdog0", "63836", "like", "2006-09-07T00:00:00Z"), {"63837": "Ale 1"},
    ),
    "lightgcn": Published(
        {"train.txt": "0 10 11 12 13\n1 10\n2 11 13 15\n3 12 10\n", "test.txt": "0 14\n1 12\n"},
        10, ("0", "10", "click", None),
    ),
    "netflix-prize": Published(
        {"combined_data_1.txt": "1:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n2:\n2059652,4,2005-09-05\n1488844,1,2005-12-01\n",
         "movie_titles.csv": "1,2003,Dinosaur Planet\n2,2004,Isle of Man, the Review\n".encode("latin-1")},
        4, ("1488844", "1", "click", "2005-09-06T00:00:00Z"),
    ),
    "uci-online-retail": Published(
        {"Online Retail.csv": "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
         + lines(*(f"53636{n},8512{i}A,WHITE HANGING HEART {i},{6 + i},12/{14 + n}/2010 8:26,2.55,1785{u},United Kingdom"
                   for n, (u, i) in enumerate(BOUGHT)))},
        6, ("17850", "85120A", "click", "2010-12-14T08:26:00Z"), {"85121A": "WHITE HANGING HEART 1"},
    ),
    "names-and-films": Published(
        {"ratings.csv": "Name,Movie,Rating\n"
         + lines(*(f"{['Lisa Rose', 'Gene Seymour', 'Mick LaSalle'][u]},Snakes on a Plane {i},{2 + i}.5" for u, i in BOUGHT))},
        6, ("Lisa Rose", "Snakes on a Plane 0", "dismiss", None),
    ),
    "ta-feng": Published(
        {"ta_feng_all_months_merged.csv": '"TRANSACTION_DT","CUSTOMER_ID","AGE_GROUP","PIN_CODE","PRODUCT_SUBCLASS","PRODUCT_ID","AMOUNT","ASSET","SALES_PRICE"\n'
         + lines(*(f'"11/{1 + 5 * n}/2000","0110473{u}","45-49 ","115","110411","471019966{i}","2","24","30"' for n, (u, i) in enumerate(BOUGHT)))},
        6, ("01104730", "4710199660", "click", "2000-11-01T00:00:00Z"),
    ),
    "tianchi-mobile": Published(
        {"tianchi_mobile_recommend_train_user.csv": "user_id,item_id,behavior_type,user_geohash,item_category,time\n"
         + lines(*(f"9800183{u},23243156{i},{1 + n % 4},,4245,2014-12-06 0{n}" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("98001830", "232431560", "click", "2014-12-06T00:00:00Z"),
    ),
    "hetrec-delicious": Published(
        {"user_taggedbookmarks-timestamps.dat": "userID\tbookmarkID\ttagID\ttimestamp\n"
         + table([(8 + u, 1 + i, 1, 1289255362000 + n) for n, (u, i) in enumerate(BOUGHT)], "\t"),
         "bookmarks.dat": "id\tmd5\ttitle\turl\tmd5Principal\turlPrincipal\n"
         + table([(1 + n, f"7ced{n}a", f"IFLA - Portal {n}", "http://e.org/1", f"f9a{n}", "www.e.org") for n in range(4)], "\t")},
        6, ("8", "1", "click", "2010-11-08T22:29:22Z"), {"2": "IFLA - Portal 1"},
    ),
    "by-day-as-hive-has-them": Published(
        {f"events/dt=2026-01-0{day}/part-0.csv": "user_id,item_id,type\n" + lines(*(f"{u},{i},like" for u, i in BOUGHT))
         for day in (1, 2)},
        12, ("0", "0", "like", "2026-01-01T00:00:00Z"),
    ),
    "two-folders-down": Published(
        {"export/v1/ratings.csv": "userId,movieId,rating\n" + table([(u, i, 4) for u, i in PAIRS], ",")},
        8, ("1", "10", "like", None),
    ),
    "by-months": Published(
        {f"2019-{month}.csv": "event_time,event_type,product_id,user_id\n"
         + lines(*(f"2019-1{n}-01 00:00:00 UTC,view,{i},{u}" for u, i in BOUGHT))
         for n, month in enumerate(("Oct", "Nov"))},
        12, ("0", "0", "view", "2019-11-01T00:00:00Z"),
    ),
    "german": Published(
        {"verkauf.csv": "Kunde;Artikel;Bewertung;Datum\n" + lines(*(f"K{u};A{i};{'4,5' if i else '2,0'};{13 + n}.02.2026" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("K0", "A0", "dismiss", "2026-02-13T00:00:00Z"),
    ),
    "french": Published(
        {"achats.csv": ("Num\xe9ro client;R\xe9f\xe9rence produit;Date achat\n" + lines(*(f"{70 + u};P{i};{13 + n}/02/2026" for n, (u, i) in enumerate(BOUGHT)))).encode("latin-1")},
        6, ("70", "P0", "apply", "2026-02-13T00:00:00Z"),
    ),
    "spanish": Published(
        {"compras.csv": "cliente;producto;fecha\n" + lines(*(f"{70 + u};P{i};2026-02-1{n}" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("70", "P0", "apply", "2026-02-10T00:00:00Z"),
    ),
    "chinese": Published(
        {"log.csv": ("用户,商品,评分,时间\n" + lines(*(f"{70 + u},P{i},5,2026-02-1{n}" for n, (u, i) in enumerate(BOUGHT)))).encode("gbk")},
        6, ("70", "P0", "like", "2026-02-10T00:00:00Z"), said=("gb18030",),
    ),
    "russian": Published(
        {"log.csv": ("ID пользователя;Товар;Оценка;Дата\n" + lines(*(f"{70 + u};P{i};5;1{3 + n}.02.2026" for n, (u, i) in enumerate(BOUGHT)))).encode("cp1251")},
        6, ("70", "P0", "like", "2026-02-13T00:00:00Z"), said=("cp1251",),
    ),
    "spotify-playlists": Published(
        {"mpd.slice.0-999.json": json.dumps({"info": {"slice": "0-999", "version": "v1"}, "playlists": [
            {"name": f"mix {p}", "pid": p, "modified_at": 1493424000, "num_tracks": 2,
             "tracks": [{"pos": k, "artist_name": "A", "track_uri": f"spotify:track:{k}", "track_name": f"Tune {k}", "duration_ms": 2}
                        for k in (p, p + 1)]} for p in range(4)]})},
        8, ("0", "spotify:track:0", "click", None), {"spotify:track:1": "Tune 1"}, said=("rows: tracks",),
    ),
    "expedia": Published(
        {"train.csv": "date_time,site_name,user_location_country,user_id,is_mobile,channel,srch_destination_id,is_booking,cnt,hotel_cluster\n"
         + lines(*(f"2014-08-11 07:46:1{n},2,66,{12 + u},0,9,{8250 + n},{int(n == 1)},3,{1 + i}" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("12", "1", "impression", "2014-08-11T07:46:10Z"), said=("is_booking: apply",),
    ),
    "steam-recommendations": Published(
        {"recommendations.csv": "app_id,helpful,funny,date,is_recommended,hours,user_id,review_id\n"
         + lines(*(f"{975370 + i},0,0,2022-12-1{n},{'true' if n % 2 else 'false'},36.3,{51580 + u},{n}" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("51580", "975370", "dismiss", "2022-12-10T00:00:00Z"), said=('"true": like',),
    ),
    "hetrec-movies": Published(
        {"user_ratedmovies.dat": "userID\tmovieID\trating\tdate_day\tdate_month\tdate_year\tdate_hour\tdate_minute\tdate_second\n"
         + table([(75 + u, 3 + i, 1 + n, 29 - n, 10 - n, 2006, 23, n, 16) for n, (u, i) in enumerate(BOUGHT)], "\t")},
        6, ("75", "3", "dismiss", "2006-10-29T23:00:00Z"),
    ),
    "date-and-clock": Published(
        {"log.csv": "Date,Time,User,Item,Action\n" + lines(*(f"{13 + n}/02/2026,9:0{n},{u},{i},view" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("0", "0", "view", "2026-02-13T09:00:00Z"),
    ),
    "portuguese": Published(
        {"vendas.csv": "cod_cliente;cod_produto;data_compra;valor\n" + lines(*(f"{500 + u};P{i};{13 + n}/02/2026;10,90" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("500", "P0", "click", "2026-02-13T00:00:00Z"),
    ),
    "chinese-events": Published(
        {"log.csv": "用户ID,商品ID,行为类型,时间戳\n" + lines(*(f"{70 + u},P{i},{['浏览', '购买', '收藏'][n % 3]},{START + n}" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("70", "P0", "view", FIRST),
    ),
    "each-user-once": Published(
        {"log.csv": "user,item,event,time\n" + lines(*(f"u{n},i1,view,{START + n}" for n in range(5)))},
        5, ("u0", "i1", "view", FIRST),
    ),
    "columns-called-by-numbers": Published(
        {"log.csv": "user_id,item_id,type,occurred_at,f1,2020\n" + lines(*(f"u{u},i{i},like,2026-02-01,a{n}b,{n}" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("u0", "i0", "like", "2026-02-01T00:00:00Z"),
    ),
    "jodie": Published(
        {"wikipedia.csv": "user_id,item_id,timestamp,state_label,comma_separated_list_of_features\n"
         + lines(*(f"{u},{i},{36.0 * n},0,-0.1752,-0.1768,{n}.5" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("0", "0", "click", None), said=("default_time: order",),
    ),
    "twitch": Published(
        {"100k_a.csv": lines(*(f"{1 + n // 9},{33842865744 + n % 7},mithrain{n % 5},{149 + 7 * n},{153 + 7 * n}" for n in range(40)))},
        40, ("1", "33842865744", "click", None), said=("default_type: click",),
    ),
    "ciao": Published(
        {"rating.txt": lines(*(f"  {1 + n % 9}  {1 + n % 7}  {1 + n % 6}  {1 + n % 5}  {n % 6}" for n in range(60)))},
        60, ("1", "1", "dismiss", None), said=("column_4:", "column_3, column_5 may be the rating"),
    ),
    "fixed-width": Published(
        {"log.txt": "USER  ITEM  TITLE         TIME\n"
         + lines(*(f"u{u:<4} i{i:<4} Nine Doors {i}  2026-02-01 10:0{n}" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("u0", "i0", "click", "2026-02-01T10:00:00Z"), {"i1": "Nine Doors 1"},
    ),
    "adressa-days": Published(
        {f"2017010{day}": lines(*({"userId": f"u{u}", "id": f"n{i}", "time": START + n, **({"os": "x"} if day == 2 else {})}
                                  for n, (u, i) in enumerate(BOUGHT))) for day in (1, 2)},
        12, ("u0", "n0", "click", FIRST),
    ),
    "events-in-lists-of-parquet": Published(
        {"sessions.parquet": by_column({"user": f"u{u}", "events": [{"item": f"i{i}", "time": START + n}, {"item": "i9", "time": START + n}]}
                                       for n, (u, i) in enumerate(BOUGHT))},
        12, ("u0", "i0", "click", FIRST), said=("rows: events",),
    ),
    "hive": Published(
        {"log.txt": table([(f"u{u}", f"i{i}", "2026-02-01 10:00:00") for n, (u, i) in enumerate(BOUGHT)], "\x01")},
        6, ("u0", "i0", "click", "2026-02-01T10:00:00Z"),
    ),
    "eb-nerd": Published(
        {"behaviors.parquet": by_column({"impression_id": n, "article_id": None, "impression_time": "2023-05-21 21:06:50",
                                         "article_ids_inview": [i, 77], "article_ids_clicked": [i], "user_id": u} for n, (u, i) in enumerate(BOUGHT))},
        6, ("0", "0", "click", "2023-05-21T21:06:50Z"), said=("rows: article_ids_clicked",),
    ),
    "coveo": Published(
        {"browsing_train.csv": "session_id_hash,event_type,product_action,product_sku_hash,server_timestamp_epoch_ms,hashed_url\n"
         + lines(*(f"s{u},event_product,{['detail', 'add', 'purchase'][n % 3]},p{i},{1550885210881 + n},h{n}" for n, (u, i) in enumerate(BOUGHT)))},
        6, ("s0", "p0", "view", "2019-02-23T01:26:50Z"), said=("purchase: apply",),
    ),
}  # fmt: skip
