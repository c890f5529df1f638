"""The normal form a second time, written from its description and not from the C code: what
stands in `data` for a body, slow and plain. `normal(type, body)` gives what event_make must
give; `flatten(data)` gives back what was sent."""
import datetime
import json
import re
import zoneinfo

RECEIVED = datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.timezone.utc)
GREATEST = 2 ** 63 - 1
KNOWN_TYPES = frozenset(
    "account_add account_contact_add account_contact_update account_update bounce click "
    "contact_tag_added contact_tag_removed contact_task_add deal_add deal_note_add "
    "deal_pipeline_add deal_stage_add deal_task_add deal_task_complete deal_tasktype_add "
    "deal_update forward list_add open reply sent share sms_reply sms_sent sms_unsub subscribe "
    "subscriber_note unsubscribe update".split())


class Dead(Exception):
    """The delivery is a dead letter; the reason is its text."""


# --- R1 to R3 -------------------------------------------------------------------------------

def text(piece):
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]),
                 piece.replace(b"+", b" "))
    if b"\0" in raw:
        raise Dead("nul")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(bytes([b]).decode("cp1252") if b not in b"\x81\x8d\x8f\x90\x9d" else chr(b)
                       for b in raw)


def read_pairs(body):
    pieces = [piece for piece in body.split(b"&") if piece]
    if len(pieces) > 10000:
        raise Dead("pairs")
    return [(text(key), text(value)) for key, _, value in (p.partition(b"=") for p in pieces)]


def read_key(key):
    """(root, segments), or None for a pair that goes to rest."""
    opens = key.find("[")
    if opens < 0:
        return (key, []) if key else None
    root, segments, rest = key[:opens], [], key[opens:]
    while rest:
        ends = [i for i in range(1, len(rest))
                if rest[i] == "]" and (i + 1 == len(rest) or rest[i + 1] == "[")]
        if not ends:
            return (key, [])
        segments.append(rest[1:ends[0]])
        rest = rest[ends[0] + 1:]
    return (root, segments) if root and len(segments) <= 16 else None


# --- R4, R5: a container is a dict, a leaf a str ----------------------------------------------

class Container(dict):
    appended = 0  # how many of its keys came from []

    def next_key(self):
        known = [int(k) for k in self if is_index(k)]
        return max(known) + 1 if known else 0

    def is_array(self):
        return self.appended == len(self)


def is_index(key):
    return re.fullmatch(r"0|[1-9][0-9]{0,18}", key) is not None and int(key) <= GREATEST


def hang(root, path, value):
    """False: it collides."""
    at = root
    for depth, key in enumerate(path):
        is_last = depth == len(path) - 1
        came_from_brackets = key == "" and depth > 0
        if came_from_brackets:
            index = at.next_key()
            if index > GREATEST:
                return False
            key = str(index)
        if key in at:
            if is_last or not isinstance(at[key], Container):
                return False
        else:
            at[key] = value if is_last else Container()
            at.appended += came_from_brackets
        at = at[key]
    return True


def grow(pairs):
    root, rest = Container(), []
    for key, value in pairs:
        path = read_key(key)
        if not path or path[0] == "_relay" or not hang(root, [path[0], *path[1]], value):
            rest.append([key, value])
    return root, rest


# --- R6, R7 -----------------------------------------------------------------------------------

def plain(node):
    if isinstance(node, str):
        return node
    if node.is_array():
        return [plain(v) for v in node.values()]
    return {k: plain(v) for k, v in node.items()}


def is_counted(node):
    return list(node) == [str(i) for i in range(len(node))]


def is_flat(node):
    return all(isinstance(v, str) for v in node.values())


def is_list_of_leaves(node):
    return isinstance(node, Container) and is_counted(node) and is_flat(node)


def stays_as_sent(items):
    """One of the items has an `index` of its own or is an array."""
    return any(isinstance(i, Container) and ("index" in i or i.is_array()) for i in items)


def field_value(node):
    if isinstance(node, str):
        if node in ("||", "|||", "||||") and node != "|||":
            return []
        if len(node) >= 4 and node.startswith("||") and node.endswith("||"):
            return node[2:-2].split("||")
        return node
    if node.is_array() or is_counted(node):
        return [field_value(v) for v in node.values()]
    return {k: field_value(v) for k, v in node.items()}


def item(key, node, scalar, counted, value):
    made = ({scalar: value(node)} if isinstance(node, str) else
            {k: value(v) if k == "value" else plain(v) for k, v in node.items()})
    return made if counted else {**made, "index": key}


def is_value(field):
    """A custom field sent as its value alone: the key that it stands under names it."""
    return isinstance(field, str) or is_list_of_leaves(field)


def has_items(fields):
    return (isinstance(fields, Container)
            and not stays_as_sent(v for v in fields.values() if not is_value(v)))


def record_fields(node):
    if not has_items(node):
        return plain(node)
    return [{"id" if is_index(k) else "key": k, "value": field_value(v)} if is_value(v)
            else item(k, v, "", is_counted(node), field_value) for k, v in node.items()]


def lists(node):
    if isinstance(node, str):
        return [] if node in ("", "0") else [{"id": node}]
    if any(isinstance(v, str) and not is_index(k) for k, v in node.items()):
        return [plain(node)]
    if stays_as_sent(node.values()):
        return plain(node)
    return [item(k, v, "id", is_counted(node), plain) for k, v in node.items()]


def scalars(node):
    """The array of a scalar, or of scalars under 0..n-1; None if it is neither."""
    if isinstance(node, str):
        return [node] if node else []
    return list(node.values()) if is_list_of_leaves(node) else None


def updated_fields(node, relay):
    found = scalars(node)
    if found is not None:
        return found
    if not is_flat(node):
        return plain(node)
    relay["updated_values"] = plain(node)
    return list(node)


def active_subscriptions(node):
    found = scalars(node)
    return plain(node) if found is None else found


def leaves(node):
    return [node] if isinstance(node, str) else [s for v in node.values() for s in leaves(v)]


def tags(node, relay):
    if not isinstance(node, str):
        if not is_list_of_leaves(node):
            relay["tags"] = plain(node)
        return leaves(node)
    if node == "":
        return []
    if re.search(r",(?! )", node):
        relay["tags"] = node
        return node.split(",")
    return node.split(", ")


def date(node):
    is_zero = isinstance(node, str) and re.fullmatch(r"0000-00-00[0\-: T+Z.]*", node)
    return None if is_zero else plain(node)


def members(node, known):
    """An object whose known members have a meaning; anything else as it was sent."""
    if isinstance(node, str) or node.is_array():
        return plain(node)
    return {k: known.get(k, plain)(v) for k, v in node.items()}


def tree_to_data(root, rest):
    relay = {"rest": rest} if rest else {}
    contact = {"tags": lambda n: tags(n, relay), "fields": field_map}
    known = {
        "list": lists,
        "note": lambda n: {"text": n} if isinstance(n, str) else plain(n),
        "updated_fields": lambda n: updated_fields(n, relay),
        "active_subscriptions": active_subscriptions,
        "contact": lambda n: members(n, contact),
        "deal": lambda n: members(n, {"fields": record_fields, "create_date": date}),
        "account": lambda n: members(n, {"fields": record_fields, "created_timestamp": date,
                                         "updated_timestamp": date}),
        "task": lambda n: members(n, dict.fromkeys(
            ("duedate", "dueDate", "edate", "donedate"), date)),
        "date_time": date,
    }
    data = {k: known.get(k, plain)(v) for k, v in root.items()}
    data.setdefault("list", [])
    order = ("rest", "updated_values", "tags")
    if relay:
        data["_relay"] = {k: relay[k] for k in order if k in relay}
    return data


def field_map(node):
    if isinstance(node, str) or node.is_array():
        return field_value(node)
    return {k: field_value(v) for k, v in node.items()}


# --- R8, R10 ----------------------------------------------------------------------------------

def subject(root, kind):
    by_type = {"deal_pipeline_add": "pipeline", "deal_stage_add": "stage",
               "deal_tasktype_add": "tasktype", "sent": "campaign", "list_add": "list"}
    if kind in by_type:
        of = by_type[kind]
    elif kind.startswith("deal_"):
        of = "deal"
    elif kind.startswith("account_"):
        of = "account"
    elif kind == "automation" or kind in KNOWN_TYPES:
        of = "contact"
    else:
        of = next((r for r in ("contact", "deal", "account", "campaign") if r in root), "contact")
    node = root.get(of)
    found = node.get("id") if isinstance(node, Container) else None
    good = isinstance(found, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", found)
    return f"{of}/{found}" if good else "hook/contacts"


def kind_of(root):
    if root.get("type", "") != "":
        found = root["type"]
        return (found if isinstance(found, str)
                and re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", found) else "unknown")
    return "automation" if "seriesid" in root or "contact" in root else "unknown"


def moment(said, zone):
    found = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.\d*)?"
                         r"(Z|z|[+-]\d\d:?\d\d)?", said, re.ASCII)
    if not found:
        return RECEIVED
    *numbers, offset = found.groups()
    year, month, day, hour, minute, second = map(int, numbers)
    try:
        when = datetime.datetime(year, month, day, hour, minute, min(second, 59))
    except ValueError:
        return RECEIVED
    if second > 60:
        return RECEIVED
    leap = datetime.timedelta(seconds=max(0, second - 59))
    if offset is None and not zone:
        return RECEIVED
    if offset is None:
        when = when.replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=0)
    elif offset in "Zz":
        when = when.replace(tzinfo=datetime.timezone.utc)
    else:
        hours, minutes = int(offset[1:3]), int(offset[-2:])
        if hours > 23 or minutes > 59:
            return RECEIVED
        sign = -1 if offset[0] == "-" else 1
        when = when.replace(tzinfo=datetime.timezone(sign * datetime.timedelta(
            hours=hours, minutes=minutes)))
    # Reckoned by hand, since year 0 and 10000 are none to datetime.
    seconds = (when.replace(tzinfo=None) - datetime.datetime(1970, 1, 1)).total_seconds()
    seconds += leap.total_seconds() - when.utcoffset().total_seconds()
    inside = 0 <= seconds <= 253402300799
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc) if inside else RECEIVED


def write(data):
    return (json.dumps(data, ensure_ascii=False, separators=(",", ":"))
            .replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode())


def normal(media, body, zone=""):
    """What event_make must answer for a form body: (reason, type, subject, time, data)."""
    try:
        if not body:
            raise Dead("empty")
        root, rest = grow(read_pairs(body))
        kind = kind_of(root)
        data = write(tree_to_data(root, rest))
        if len(data) > 8 << 20:
            raise Dead("size")
        said = root.get("date_time")
        when = moment(said if isinstance(said, str) else "", zone)
        return ("ok", f"com.activecampaign.{kind}", subject(root, kind),
                when.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0"), data)
    except Dead as reason:
        return (str(reason), "", "", "", b"")


# --- back again -------------------------------------------------------------------------------
# What R6 calls equal is brought to one shape on both sides: under the paths it reshapes only
# the values count, a choice counts as its parts, and a label of a custom field as a value. Of
# tags, updated_fields and active_subscriptions the keys count too, where they are not 0..n-1.

RESHAPED = (("list",), ("note",), ("contact", "fields"), ("deal", "fields"), ("account", "fields"))
SCALARS = ("updated_fields", "active_subscriptions")
DATES = {("date_time",), ("deal", "create_date"), ("account", "created_timestamp"),
         ("account", "updated_timestamp"), ("task", "duedate"), ("task", "dueDate"),
         ("task", "edate"), ("task", "donedate")}


def walk(path, node, found):
    if isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            walk((*path, str(key)), value, found)
        return
    start = next((r for r in RESHAPED if path[:len(r)] == r), path)
    parts = [node]
    if start == ("list",) and path == start:
        parts = [] if node in ("", "0") else [node]
    elif start[-1] == "fields" and isinstance(node, str):
        parts = field_value(node) if isinstance(field_value(node), list) else [node]
    found.extend((*start, part) for part in parts)


def order(found):
    return sorted(found, key=lambda f: [str(part) for part in f])


def sent(body):
    """The leaves of what was sent, and what collided."""
    root, rest = grow(read_pairs(body))
    for of in ("deal", "account"):
        fields = root[of].get("fields") if isinstance(root.get(of), Container) else None
        if (isinstance(root.get(of), Container) and not root[of].is_array()
                and has_items(fields)):
            root[of]["fields"] = [[k, v] if is_value(v) else v for k, v in fields.items()]
    contact = root.get("contact")
    if isinstance(contact, Container) and is_list_of_leaves(contact.get("tags")):
        contact["tags"] = ", ".join(leaves(contact["tags"]))
    root.update({of: scalars(root[of]) for of in SCALARS if of in root and scalars(root[of])})
    found = [("rest", *pair) for pair in rest]
    for key, node in root.items():
        before = len(found)
        walk((key,), node, found)
        for i in range(before, len(found)):
            if found[i][:-1] in DATES and date(found[i][-1]) is None:
                found[i] = (*found[i][:-1], None)
    return order(found)


def without_index(items):
    return [{k: v for k, v in each.items() if k != "index"} if isinstance(each, dict) else each
            for each in items]


def flatten(data):
    """The same of an event, from its `data` alone."""
    data = json.loads(json.dumps(data))
    relay = data.pop("_relay", {})
    found = [("rest", *pair) for pair in relay.get("rest", [])]
    if "updated_values" in relay:
        data["updated_fields"] = relay["updated_values"]
    data.update({of: "" for of in SCALARS if data.get(of) == []})
    if isinstance(data.get("list"), list):
        data["list"] = without_index(data["list"])
    for of in ("deal", "account"):
        if isinstance(data.get(of), dict) and isinstance(data[of].get("fields"), list):
            data[of]["fields"] = without_index(data[of]["fields"])
    contact = data.get("contact")
    if isinstance(contact, dict) and isinstance(contact.get("tags"), list):
        contact["tags"] = relay.get("tags", ", ".join(contact["tags"]))
    for key, node in data.items():
        walk((key,), node, found)
    return order(found)
