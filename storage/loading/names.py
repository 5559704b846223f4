"""How products call columns and events: what a name tells, before any cell is looked at."""

from __future__ import annotations

import re
import unicodedata

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes
from storage.loading.values.columns import COLUMNS

# Names without case and signs, the surest first.
_ENGLISH: dict[str, tuple[str, ...]] = {
    "user_id": (
        "userid", "user", "uid", "customerid", "customer", "visitorid", "visitor", "memberid",
        "member", "reviewerid", "reviewer", "readerid", "reader", "accountid", "account", "viewer",
        "viewerid", "buyerid", "buyer", "personid", "person", "playerid", "player", "profileid",
        "profilename", "reviewprofilename", "reviewuserid", "username", "guest", "guestid",
        "clientid", "client", "msno", "cookieid", "deviceid", "listener", "subscriber",
        "student", "learner", "patient", "employee",
        "shopper", "rater", "voter", "email", "login", "userpseudoid", "household", "householdid",
        "householdkey", "cardid", "cardnumber", "ucid", "anonymousid", "distinctid", "who",
    ),
    "session": (
        "sessionid", "session", "usersession", "orderid", "basketid", "visitid", "transactionid",
        "playlistid", "pid", "invoiceno", "invoice",
    ),
    "item_id": (
        "lineitemsku", "itemsku", "productsku",
        "itemid", "item", "parentasin", "asin", "productid", "product", "movieid", "movie",
        "filmid", "film", "businessid", "business", "bookid", "book", "isbn", "articleid",
        "article", "newsid", "news", "docid", "doc", "documentid", "trackid", "songid", "song",
        "track", "traid", "artistid", "artist", "artid", "albumid", "animeid", "anime", "gameid",
        "appid", "game", "videoid", "video", "photoid", "venueid", "venue", "locationid",
        "location", "poiid", "placeid", "place", "beerid", "beerbeerid", "reviewproductid",
        "jokeid", "joke", "recipeid", "hotelid", "restaurantid", "eventid", "event", "postid",
        "pinid", "pin", "listingid", "offerid", "skuid", "sku", "storeid", "gmapid", "couponid",
        "contentid", "courseid", "jobid", "goodsid", "adid", "aid", "creativeid", "urlid",
        "stockcode", "campaignid", "campaign", "feedid", "mediaid", "threadid", "repoid",
        "paperid",
        "reference", "wine", "wineid", "app", "url",
        "hotelcluster", "subreddit", "tweetid", "statusid", "trackuri", "uri", "what",
    ),
    "type": (
        "type", "eventtype", "event", "action", "actiontype", "behavior", "behaviour",
        "behaviortype", "behaviourtype", "activity", "interaction", "interactiontype", "response",
        "answer", "label", "verb", "eventname", "target", "vote", "feedback", "reaction",
        "productaction",
    ),
    "verdict": ("isrecommended", "recommended", "recommend", "recommends", "votedup"),
    "occurred_at": (
        "occurredat", "timestamp", "timestampms", "timems", "eventtimestamp", "eventtime",
        "eventdatetime", "datetime", "time", "ts", "tdat", "transactiondt", "transactiondate",
        "invoicedate", "orderdate", "purchasedate",
        "unixreviewtime", "reviewtime", "createdat", "date", "eventdate", "reviewdate",
        "dateadded", "checkintime", "utctime", "visittime", "unixtime", "ratedat", "viewtime",
        "created", "when", "at", "day", "postedat", "updatedat", "dateupdated",
        "dt", "ds", "uts", "createdutc",
    ),
    "rating": (
        "rating", "stars", "overall", "score", "rate", "reviewoverall", "reviewscore",
        "bookrating", "myrating", "userrating", "watchratio", "ratings", "helpfulness", "vote",
    ),
    "count": (
        "plays", "playcount", "weight", "count", "hours", "hoursplayed", "playtimeforever",
        "listens", "listencount", "quantity", "qty", "frequency",
    ),
    "title": (
        "title", "lineitemname", "itemname", "name", "movietitle", "booktitle", "productname",
        "prodname",
        "songname", "trackname", "traname", "artistname", "doctitle", "producttitle", "gametitle",
        "headline", "reviewtitle", "appname", "label",
    ),
    "text": ("text", "description", "abstract", "plot", "overview", "synopsis", "detaildesc"),
    "tags": ("tags", "genres", "genre", "categories", "class", "topics", "keywords"),
    "category": (
        "category", "categoryid", "maincategory", "maincat", "producttypename", "productgroupname",
        "department", "departmentid", "beerstyle", "style", "venuecategoryname", "genreid",
    ),
    "price_min": ("price", "pricemin", "minprice"),
    "price_max": ("pricemax", "maxprice"),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "long", "longitude"),
    "city": ("city", "town"),
    "owner_id": ("ownerid", "sellerid", "storeownerid"),
}  # fmt: skip
# German, French, Spanish, Portuguese, Italian, Chinese, Russian.
_OTHERS: dict[str, tuple[str, ...]] = {
    "user_id": (
        "benutzer", "benutzerid", "nutzer", "nutzerid", "kunde", "kundenid", "kundennr",
        "kundennummer", "utilisateur", "idutilisateur", "utilisateurid", "idclient",
        "numeroclient", "noclient", "codeclient", "usuario", "idusuario", "usuarioid",
        "codigousuario", "cliente", "idcliente", "clienteid", "codigocliente", "utilizador",
        "utente", "idutente", "用户", "用户id", "用户编号", "用户名", "会员", "会员id", "客户",
        "客户id",
        "买家", "пользователь", "idпользователя", "пользовательid", "клиент", "idклиента",
        "кодклиента", "покупатель",
    ),
    "item_id": (
        "artikel", "artikelid", "artikelnr", "artikelnummer", "produkt", "produktid", "produktnr",
        "buch", "produit", "idproduit", "produitid", "referenceproduit", "codeproduit", "livre",
        "producto", "idproducto", "productoid", "codigoproducto", "articulo", "idarticulo",
        "libro", "pelicula", "produto", "idproduto", "produtoid", "codigoproduto", "livro",
        "filme", "prodotto", "articolo", "商品", "商品id", "商品编号", "物品", "物品id", "产品",
        "产品id",
        "电影", "电影id", "图书", "书", "товар", "idтовара", "товарid", "кодтовара", "продукт",
        "фильм",
        "книга", "артикул",
    ),
    "type": (
        "ereignis", "ereignistyp", "aktion", "typ", "evenement", "typeevenement", "evento",
        "accion", "acao", "tipo", "tipoevento", "azione", "行为", "行为类型", "事件",
        "事件类型", "类型",
        "событие", "типсобытия", "действие", "тип",
    ),
    "occurred_at": (
        "zeitstempel", "zeitpunkt", "datum", "bestelldatum", "kaufdatum", "zeit", "horodatage",
        "dateachat", "datecommande", "fechahora", "fecha", "fechacompra", "datahora", "data",
        "datacompra", "heure", "hora", "时间戳", "时间", "日期", "购买时间", "评分时间",
        "датаивремя",
        "дата", "датапокупки", "время",
    ),
    "rating": (
        "bewertung", "sterne", "note", "evaluation", "etoiles", "calificacion", "puntuacion",
        "valoracion", "nota", "avaliacao", "classificacao", "voto", "评分", "打分", "оценка",
        "рейтинг",
    ),
    "count": ("menge", "anzahl", "quantite", "cantidad", "quantidade", "数量", "количество"),
    "title": (
        "titel", "bezeichnung", "artikelname", "produktname", "titre", "libelle", "designation",
        "nom", "nomproduit", "titulo", "nombre", "nome", "标题", "商品名称", "名称", "название",
        "наименование", "заголовок",
    ),
    "category": ("kategorie", "categorie", "categoria", "类别", "分类", "категория"),
    "price_min": ("preis", "prix", "precio", "preco", "prezzo", "价格", "цена"),
}  # fmt: skip


def plain_name(name: str) -> str:
    """A name without what spellings differ in: letters and digits, without case and accents.

    Of a key within a key the inner one, with the outer one where that says nothing: ``user.id`` is
    ``userid``, and so is ``userId.$oid``, as MongoDB exports it.
    """
    bare = re.sub(r"\s+\([^()\d]*\)$", "", name)  # Price (EUR), Created (UTC)
    keys = [letters(part) for part in re.split(r"[./]", bare) if not part.startswith("$")]
    parts = [key for key in keys if key] or [letters(name)]
    last = parts[-1]
    return parts[-2].removesuffix("s") + last if last in _OF_OUTER and len(parts) > 1 else last


def letters(text: str) -> str:
    """Letters and digits alone, in lower case and without accents: ``User-ID`` is ``userid``."""
    apart = unicodedata.normalize("NFKD", text.lower())
    return "".join(filter(str.isalnum, apart))


_OF_OUTER = ("id", "idstr", "key", "uuid", "guid", "name", "nr", "no", "number", "code")

NAMES: dict[str, tuple[str, ...]] = {
    role: (*names, *map(plain_name, _OTHERS.get(role, ()))) for role, names in _ENGLISH.items()
}
_OURS = {plain_name(column.name): column.name for several in COLUMNS.values() for column in several}
_ROLES = {name: role for role, names in reversed(NAMES.items()) for name in names} | _OURS
"""Plain name -> what a column of that name is."""


def core(plain: str) -> str:
    """A plain name without what says that it is an id: ``cod_cliente`` and ``customer_nr``."""
    return re.sub(r"^(id|codigo|cod)|(id|code|codigo|nr|no|number|key|hash|idx|index)$", "", plain)


def role_of(name: str) -> str | None:
    """What a column is that is called so; None: the name is not known."""
    return _ROLES.get(plain_name(name))


def type_of(word: str, types: InteractionTypes = DEFAULT_TYPES) -> str | None:
    """Our type of an event that is called ``word``; None: its name says nothing."""
    plain = re.sub(r"[^\w]+", "_", re.sub(r"^(\d+)\.0+$", r"\1", word.strip().lower()))
    stems = (
        plain,
        *(plain.removesuffix(end) for end in ("s", "d", "ed", "ped", "ning", "ing")),
    )
    return next((types.called[stem] for stem in stems if stem in types.called), None)


def type_of_flag(name: str, types: InteractionTypes = DEFAULT_TYPES) -> str | None:
    """Our type of what a column of 0 and 1 tells, by its name: ``is_like``, ``num_clicks``."""
    plain = name.rpartition(".")[2].strip().lower().replace("-", "_")
    bare = re.sub(r"^(is|has|was|did|num|n|cnt)_?(?=[a-z]{3})", "", plain)
    return type_of(bare, types) or type_of(plain, types)
