#!/usr/bin/env python3
"""undelta.py - applies a layer's delta: a second implementation, from docs/DELTA-FORMAT.md alone.

  undelta.py DELTA NEW [OLD...]      OLD: the base's tars, in the order of the delta's head; NEW is written
"""
import hashlib, heapq, lzma, struct, sys

M64, BLOCK, SPAN = (1 << 64) - 1, 512, 4096
FLAGS, TEXT, NUMBERS, COPIES, GAPS, SHIFTS, RUNS, CHANGES, LITERALS, MODES = range(10)
X86, ARM, A64, RISCV = 1, 2, 3, 4
SYMBOLS, REL, RELA, FRAMES, WORDS, PAIRS, RECORDS, TYPES, INLINED, BUCKETS, ENTRIES, LOCATIONS, RANGES, LISTS = range(14)
OTHERS = [1, 1, 1, 0, 1, 2, 5, 2, 2, 2, 7, 0, 0, 0]


class Bad(Exception):
    pass


def need(is_so, what):
    if not is_so:
        raise Bad(what)


def signed(n):
    return -(n >> 1) - 1 if n & 1 else n >> 1


def sext(value, bits):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class Stream:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        need(self.at + n <= len(self.data), "a section ends too early")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self):
        n = 0
        for shift in range(0, 64, 7):
            byte = self.take(1)[0]
            n |= (byte & 0x7F) << shift
            if byte < 0x80:
                return n & M64
        raise Bad("a number too long")

    def signed(self):
        return signed(self.number())


def unlzma(packed, plain, properties, dictionary):
    lc, rest = properties % 9, properties // 9
    filters = [{"id": lzma.FILTER_LZMA1, "lc": lc, "lp": rest % 5, "pb": rest // 5, "dict_size": 1 << dictionary}]
    data = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(packed, max_length=plain)
    need(len(data) == plain, "damaged data")
    return data


def unpack(packed, packing):
    plain, _, how = packing
    if how is None:
        return packed
    if len(how) == 2:
        return unlzma(packed, plain, *how)
    dictionary, head, packed_head = how
    return Codes(unlzma(packed[:packed_head], head, 0, 14), packed[packed_head:], dictionary).all(plain)


def scale(bits, least):
    out = []
    for n in bits:
        out.append((least, n))
        least += 1 << n
    return out


PART, ONLY, LONGEST = 32768, 12, 11
RUNS_OF_LITERALS = scale([0] * 12 + [2, 4, 7, 15], 0)
LENGTHS = scale([0] * 11 + [2, 4, 5, 8, 15], 1)


class Tree:
    """A prefix code: what its bits mean, the first bit of a code being its highest."""

    def __init__(self, lengths):
        need(max(lengths) <= ONLY, "a code's length")
        self.codes, self.only, code = {}, None, 0
        if ONLY in lengths:
            need(sum(length > 0 for length in lengths) == 1, "a tree of more than one symbol")
            self.only = lengths.index(ONLY)
            return
        for length in range(1, LONGEST + 1):
            for symbol in (symbol for symbol in range(256) if lengths[symbol] == length):
                need(code >> length == 0, "too many codes")
                self.codes[length, code] = symbol
                code += 1
            code <<= 1
        need(code in (0, 2 << LONGEST), "too few codes")
        if code == 0:
            self.only = 0

    def read(self, bits):
        if self.only is not None:
            return self.only
        code = length = 0
        while (length, code) not in self.codes:
            code, length = code << 1 | bits.number(1), length + 1
        return self.codes[length, code]


class Bits:
    def __init__(self, data):
        self.value, self.length, self.at = int.from_bytes(data, "little"), 8 * len(data), 0

    def number(self, count):
        value = (self.value >> self.at) & ((1 << count) - 1)
        self.at += count
        return value

    def end(self):
        need(0 <= self.length - self.at < 8 and self.value >> self.at == 0, "bits left")


class Codes:
    def __init__(self, head, parts, dictionary):
        self.head, self.parts, self.window = Stream(head), Stream(parts), max(PART, 1 << dictionary)
        self.out, self.last = bytearray(), [1, 1, 1, 1]

    def all(self, plain):
        while len(self.out) < plain:
            others = self.head.take(1)[0]
            need(others < 2 and (others or self.out), "trees")
            if others:
                self.trees()
            self.part(Bits(self.parts.take(int.from_bytes(self.head.take(2), "little"))), min(len(self.out) + PART, plain))
        need(self.head.at == len(self.head.data) and self.parts.at == len(self.parts.data), "left")
        return bytes(self.out)

    def trees(self):
        shape, count = self.head.take(2)
        self.unit, by_token, self.by_literal = shape // 25, shape // 5 % 5, shape % 5
        need(self.unit < 5 and 1 <= count <= 16, "a shape")
        self.choice = self.head.take((256 if self.by_literal < 3 else 1) << self.by_literal)
        need(max(self.choice) < count, "a choice")
        self.literals, self.tokens, self.distances = ([Tree(self.head.take(256)) for _ in range(n)] for n in (count, 1 << by_token, 4))

    def literal(self, bits):
        context = len(self.out) % (1 << self.by_literal)
        if self.by_literal < 3:
            context = context << 8 | (self.out[-1] if self.out else 0)
        self.out.append(self.literals[self.choice[context]].read(bits))

    def distance(self, symbol, bits):
        if symbol < 4:
            return self.last.pop(symbol)
        self.last.pop()
        if symbol < 12:
            return symbol - 3
        n = symbol - 12
        if n < 8:
            return n + 1 << self.unit
        more = n // 8 - 1
        need(more < 22, "a distance")
        return ((8 + n % 8 << more) + 1 + bits.number(more)) << self.unit

    def part(self, bits, end):
        while len(self.out) < end:
            token = self.tokens[len(self.out) % len(self.tokens)].read(bits)
            least, more = RUNS_OF_LITERALS[token >> 4]
            count = least + bits.number(more)
            need(count <= end - len(self.out), "literals")
            for _ in range(count):
                self.literal(bits)
            if len(self.out) == end:
                break
            least, more = LENGTHS[token & 15]
            length = least + bits.number(more)
            distance = self.distance(self.distances[min(max((token & 15) - 1, 0), 3)].read(bits), bits)
            self.last.insert(0, distance)
            need(length <= end - len(self.out) and 1 <= distance <= min(len(self.out), self.window), "a match")
            for _ in range(length):
                self.out.append(self.out[-distance])
        bits.end()


class Head:
    def __init__(self, delta):
        need(delta[:8] == b"PRTQDLT\x01", "it does not begin as one")
        s = Stream(delta)
        s.take(8)
        length = s.number()
        need(length <= 65536, "its head is too long")
        end = s.at + length
        need(s.number() == 0, "features")
        self.target, self.size = s.take(32), s.number()
        self.base = [s.take(32) for _ in range(s.number())]
        s.number()
        self.entries, self.most = s.number(), s.number()
        need(self.most <= 32768, "its sizes")
        joined = s.take(1)[0]
        need(joined < 2, "its head")
        if joined:
            whole = self.packing(s)
            lengths = [s.number() for _ in range(10)]
            need(sum(lengths) == whole[0] <= 256 << 10, "its sizes")
            packings = [whole]
        else:
            packings = [self.packing(s) for _ in range(10)]
        need(s.at == end, "its head")
        need(sum(self.memory(p[2]) for p in packings) <= 5 << 20, "its dictionaries")
        parts = [unpack(s.take(p[1]), p) for p in packings]
        need(s.at == len(delta), "its length")
        if joined:
            all_of_them = Stream(parts[0])
            parts = [all_of_them.take(n) for n in lengths]
        self.sections = [Stream(part) for part in parts]

    @staticmethod
    def memory(how):
        if how is None:
            return 0
        return 1 << how[1] if len(how) == 2 else (1 << how[0]) + (256 << 10)

    @staticmethod
    def packing(s):
        plain = s.number()
        if plain == 0:
            return 0, 0, None
        packed, properties = s.number(), s.take(1)[0]
        if properties == 0xFF:
            need(plain == packed, "a stored section")
            return plain, packed, None
        dictionary = s.take(1)[0]
        if properties == 0xFE:
            head, packed_head = s.number(), s.number()
            need(packed_head <= packed and 12 <= dictionary <= 30, "a packing")
            return plain, packed, (dictionary, head, packed_head)
        need(properties < 225 and properties % 9 + properties // 9 % 5 <= 4 and 12 <= dictionary <= 30, "a packing")
        return plain, packed, (properties, dictionary)


# Headers

def field(bytes_):
    """A number of a header as tars have it."""
    if bytes_[0] & 0x80:
        return sext(int.from_bytes(bytes_, "big") & ~(1 << (8 * len(bytes_) - 1)), 8 * len(bytes_) - 1)
    text = bytes_.lstrip(b" \t\n\f\r").split(b"\0")[0].split(b" ")[0]
    need(all(48 <= c < 56 for c in text), "a number of a header")
    return int(text or b"0", 8)


def checksum(block):
    return sum(block) - sum(block[148:156]) + 8 * 32


class Group:
    """The headers of an entry: all blocks, where the main one is, the body's size, the path."""

    def __init__(self, data=b"", main=0, size=0, path=b""):
        self.bytes, self.main, self.size, self.path = bytearray(data), main, size, path

    @staticmethod
    def read(at, read):
        start, pax, name = at, {}, None

        def block():
            nonlocal at
            need(at - start < 64 * BLOCK, "headers too long")
            at += BLOCK
            return read(at - BLOCK, BLOCK)

        while True:
            main = block()
            need(any(main), "no entry")
            sums = checksum(main), sum(sext(b, 8) for b in main) - sum(sext(b, 8) for b in main[148:156]) + 256
            need(field(main[148:156]) in sums, "a checksum")
            size, kind = field(main[124:136]), main[156:157]
            if kind not in (b"x", b"g", b"L", b"K"):
                break
            need(0 <= size <= 1 << 20, "a meta header")
            content = b"".join(block() for _ in range(-(-size // BLOCK)))[:size]
            if kind == b"L":
                name = content.split(b"\0")[0]
            elif kind == b"x":
                while content:
                    length = int(content.split(b" ")[0])
                    key, value = content[:length - 1].split(b" ", 1)[1].split(b"=", 1)
                    pax[key] = value
                    if key == b"path":
                        name = value or None
                    content = content[length:]
        group = Group(main=at - BLOCK - start)
        if name is None:
            name = main[:100].split(b"\0")[0]
            prefix = main[345:500].split(b"\0")[0]
            if main[257:265] == b"ustar\00000" and prefix:
                name = prefix + b"/" + name
        group.path = pax.get(b"GNU.sparse.name") or name
        is_file = kind in (b"7", b"S") or kind in (b"0", b"\0") and not group.path.endswith(b"/")
        group.size = int(pax.get(b"size") or size) if is_file else 0
        if kind == b"S" and main[482]:
            while block_more(block()):
                pass
        elif is_file and pax.get(b"GNU.sparse.major") == b"1":
            text = b""
            while b"\n" not in text or text.count(b"\n") < 1 + 2 * int(text.split(b"\n")[0]):
                text += block()
                group.size -= BLOCK
        group.bytes = bytearray(read(start, at - start))
        return group

    def span(self):
        return len(self.bytes) + -(-self.size // BLOCK) * BLOCK

    def template(self):
        return Group(self.bytes[self.main:self.main + BLOCK], 0, self.size, self.path)

    def put(self, at, value):
        self.bytes[self.main + at:self.main + at + len(value)] = value

    def get(self, at, end):
        return bytes(self.bytes[self.main + at:self.main + end])

    def set_path(self, path):
        prefix, name = b"", path
        if len(path) > 100:
            last = min(155, len(path) - 1)
            places = [n for n in range(max(len(path) - 101, 1), last + 1) if path[n] == 0x2F]
            if not places:
                return
            prefix, name = path[:places[-1]], path[places[-1] + 1:]
        self.put(0, name.ljust(100, b"\0"))
        if prefix or self.get(345, 346) != b"\0":
            self.put(345, prefix.ljust(155, b"\0"))
        self.path = path

    def time(self):
        text = self.get(136, 148).lstrip(b" ")
        digits = text[:digits_of(text)]
        return int(digits, 8) if digits and all(c < 56 for c in digits) else 0

    def write(self, at, end, number):
        digits = digits_of(self.get(at, end))
        text = b"%0*o" % (digits, number)
        if number >= 0 and digits and len(text) == digits:
            self.put(at, text)

    def parsed(self):
        data = bytes(self.bytes)

        def read(at, n):
            need(at + n <= len(data), "cut headers")
            return data[at:at + n]
        group = Group.read(0, read)
        need(len(group.bytes) == len(data), "headers that are none")
        return group


def block_more(block):
    return block[504] != 0


def digits_of(text):
    return next((n for n, c in enumerate(text) if not 48 <= c < 58), len(text))


# Programs

class Program:
    def __init__(self, first, s, spans):
        self.machine, self.wide = (first - 1) >> 1, (first - 1) & 1
        need(self.machine <= 4, "a program")
        count = s.number()
        need(count <= 64, "a program")

        def pair():
            old = s.number()
            return old, (old + s.signed()) & M64
        # Of each segment, old and new: offset, length in the file, length in memory, address.
        pairs = [[pair() for _ in range(4)] for _ in range(count)]
        self.old = [[p[0] for p in segment] for segment in pairs]
        self.new = [[p[1] for p in segment] for segment in pairs]
        for offset, length, memory, _ in self.old + self.new:
            need(offset + length < 1 << 63 and length <= memory, "a program")
        self.bases = [pair(), pair()]
        count = s.number()
        need(count <= 32, "a program")
        self.tables = []
        for _ in range(count):
            kind, fields = s.number(), s.number() & 0xFF
            need(kind < 14, "a table")
            offset, length = pair(), pair()
            others = [(pair(), s.number()) for _ in range(OTHERS[kind])]
            parents = []
            if kind == FRAMES:
                for _ in range(s.number()):
                    parents.append(((parents[-1] if parents else offset[0]) + s.number()) & M64)
                need(len(parents) <= 256 and parents == sorted(parents), "a table")
            self.tables.append((kind, fields, offset, length, others, parents))
        self.spans = spans

    def map(self):
        """Of each stretch of the old file between two borders of spans, the shift of the span that decides."""
        spans = sorted({(start, end, shift) for start, end, shift in self.spans})
        borders = sorted({place for span in spans for place in span[:2]})
        self.starts, self.moves, active, nth = [], [], [], 0
        for at in borders:
            while nth < len(spans) and spans[nth][0] <= at:
                start, end, shift = spans[nth]
                heapq.heappush(active, (start - end, start, shift, end))
                nth += 1
            while active and active[0][3] <= at:
                heapq.heappop(active)
            if active:
                self.starts.append(at)
                self.moves.append(active[0][2])

    @staticmethod
    def place(segments, offset):
        """The address of a place in a file, and how much of the segment follows."""
        for start, length, _, address in segments:
            if 0 <= offset - start < length:
                return (address + offset - start) & M64, length - (offset - start)
        return None

    def moved(self, offset):
        """Where a place of the old file is in the new one."""
        low, high = 0, len(self.starts)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.starts[middle] <= offset else (low, middle)
        moved = offset + self.moves[low - 1] if low else -1
        return moved if moved >= 0 else None

    def aim(self, address):
        address &= M64
        for old, new in zip(self.old, self.new):
            within = (address - old[3]) & M64
            if within >= old[2]:
                continue
            if within >= old[1]:
                return (new[3] + new[1] + within - old[1]) & M64
            moved = self.moved(old[0] + within)
            if moved is None:
                return None
            home = self.place(self.new, moved)
            if home:
                return home[0]
            return (new[3] + new[1]) & M64 if moved == new[0] + new[1] else None
        return None

    def foretell(self, piece, old_at, new_at, modes):
        at = 0
        dense_bits = {X86: 3, ARM: 2, RISCV: 1}.get(self.machine, 0)
        while at < len(piece):
            left = self.table(piece, at, old_at, new_at)
            if left:
                at += left
                continue
            old, new = self.place(self.old, old_at + at), self.place(self.new, new_at + at)
            if not old or not new:
                at += 1
                continue
            mode = modes[(new_at + at) // SPAN]
            end = min(len(piece), at + min(old[1], new[1], SPAN - (new_at + at) % SPAN))
            for _, _, offset, _, _, _ in self.tables:
                ahead = [begin - place for begin, place in zip(offset, (old_at, new_at)) if begin > place + at]
                end = min([end] + ahead)
            if mode == 0:
                at = end
                continue
            start = at
            while at < end:
                o, n = (old[0] + at - start) & M64, (new[0] + at - start) & M64
                by = self.code(piece, at, o, n, mode)
                if not by:
                    dense = mode & dense_bits
                    by = 0 if o % 4 else self.words(piece, at, o, n, mode)
                    by = by or (1 if dense else 4 - o % 4)
                at += by

    def table(self, piece, at, old_at, new_at):
        """The first table that both places are in: how many bytes of it follow, after its rows are foretold; 0: none."""
        old_at, new_at = old_at + at, new_at + at
        for table in self.tables:
            kind, _, offset, length, _, _ = table
            left = min(offset[0] + length[0] - old_at, offset[1] + length[1] - new_at)
            if offset[0] <= old_at and offset[1] <= new_at and left > 0:
                left = min(left, len(piece) - at)
                if kind == FRAMES:
                    self.frames(piece, at, at + left, old_at - at, new_at - at, table)
                    return left
                if kind == ENTRIES:
                    self.debug.foretell(self, piece, at, at + left, old_at - at, table)
                    return left
                if kind in (LOCATIONS, RANGES):
                    self.debug.pairs(self, piece, at, at + left, old_at - at, table)
                    return left
                if kind == LISTS:
                    self.lists(piece, at, at + left, table)
                    return left
                if kind == BUCKETS:
                    self.buckets(piece, at, at + left, new_at - at, table)
                    return left
                if kind == RECORDS:
                    self.records(piece, at, at + left, old_at - at, table)
                    return left
                if kind in (TYPES, INLINED):
                    (self.types if kind == TYPES else self.inlined)(piece, at, at + left, old_at - at, table)
                    return left
                if kind in (WORDS, PAIRS):
                    for place in range(at + -(old_at - offset[0]) % (4 * OTHERS[kind]), at + left - 4 * OTHERS[kind] + 1, 4 * OTHERS[kind]):
                        for nth in range(OTHERS[kind]):
                            self.word(piece, place + 4 * nth, nth, table)
                    return left
                word = 8 if self.wide else 4
                row = {SYMBOLS: 8 + 2 * word, REL: 2 * word, RELA: 3 * word}[kind]
                for first in range(at + -(old_at - offset[0]) % row, at + left - row + 1, row):
                    self.row(piece, first, word, table)
                return left
        return 0

    def row(self, p, at, word, table):
        kind, fields, _, _, others, _ = table
        third = 2 * word
        if kind == SYMBOLS:
            name, n, value, scale = 0, 4, word, 1
        else:
            name, n, value, scale = (12, 4, 0, 24) if word == 8 else (5, 3, 0, 16)
        number = field_of(p, at + name, n)
        moved = self.within(others[0], number * scale) if fields & 1 and number else None
        if moved is not None:
            set_field(p, at + name, n, moved // scale)
        address = field_of(p, at + value, word)
        to = self.address(address)
        if to is not None and fields & 2:
            set_field(p, at + value, word, to)
        if fields & 4 and kind == RELA:
            addend = self.address(field_of(p, at + third, word))
            if addend is not None:
                set_field(p, at + third, word, addend)
        if fields & 4 and kind == SYMBOLS and to is not None:
            grown = self.grown(address, field_of(p, at + third, word), to)
            if grown is not None:
                set_field(p, at + third, word, grown)

    def within(self, other, far):
        """How far in the new part is what was so far in the old one."""
        (old, new), length = other
        moved = self.moved(old + far & M64) if far < length else None
        return None if moved is None else moved - new & M64

    def word(self, p, at, nth, table, scale=1):
        far = field_of(p, at, 4)
        moved = self.within(table[4][nth], far * scale) if table[1] >> nth & 1 and far else None
        if moved is not None:
            set_field(p, at, 4, moved // scale)

    def records(self, p, at, end, old, table):
        at += (table[2][0] - old - at) % 4
        while at + 44 <= end:
            lines, data = field_of(p, at + 28, 4), p[at + 43]
            if p[at + 42] or lines >= 32 or data >= 32:
                at += 4
                continue
            for place, nth in ((0, 0), (4, 1), (16, 2), (20, 2), (24, 2)):
                self.word(p, at + place, nth, table)
            self.word(p, at + 32, 3, table, 4)
            at += 44
            for nth in [2] * lines + [4] * data:
                if at + 4 <= end:
                    self.word(p, at, nth, table)
                at += 4

    def types(self, p, at, end, old, table):
        word, fields, length = 8 if self.wide else 4, table[1], table[4][0][1]
        at += -(old + at) % word
        methods, after, counts = 0, 0, -8
        while at + word <= end:
            value = field_of(p, at, word)
            to = self.aim(value) if value >= max(length, 4096) else None
            if to is not None:
                if fields & 4:
                    set_field(p, at, word, to)
                at += word
                continue
            for place in range(at, at + word, 4):
                if place + 16 <= end:
                    count, exported, far = field_of(p, place + 4, 2), field_of(p, place + 6, 2), field_of(p, place + 8, 4)
                    if exported <= count and count and 16 <= far < 65536 and far % 4 == 0 and not field_of(p, place + 12, 4):
                        methods, after, counts = place + far, place + far + 16 * count, place + 4
                if not counts <= place < counts + 8:
                    self.word(p, place, int(methods <= place < after and (place - methods) % 16 >= 8), table)
            at += word

    def inlined(self, p, at, end, old, table):
        start = at
        for at in range(at + -(old + at) % 4, end - 3, 4):
            place, length, pointers = (field_of(p, at - by, 4) if at - start >= by else 0 for by in (12, 8, 4))
            is_object = 0 < pointers <= length < 1 << 24 and pointers % 4 == length % 4 == 0
            if is_object and (place >> 31 or field_of(p, at, 4) >= table[4][0][1]):
                self.word(p, at, 1, table)
            elif at - start >= 3 and not any(p[at - 3:at]):
                self.word(p, at, 0, table)

    def learn(self, body, size):
        """The first function of each stretch of the new code, by the old body and the new one's length."""
        self.debug = Debug(self, body, size)
        self.first = []
        table = next((table for table in self.tables if table[0] == BUCKETS), None)
        if not table:
            return
        _, _, offset, length, (code, index), _ = table
        if offset[1] + length[1] > size or length[1] > 1 << 18 or index[1] > 64 * length[1]:
            return
        rows = body[index[0][0]:index[0][0] + index[1]]
        need(len(rows) == index[1], "an index beyond its program")
        first, start = [None] * (16 * -(-length[1] // 20)), None
        for far in range(0, len(rows) - 7, 8):
            entry, place = self.within(code, field_of(rows, far, 4)), self.within(index, far)
            if entry is None or place is None:
                continue
            start = entry if start is None else start
            stretch = -(-(entry - start & M64) // 256)
            if stretch < len(first) and place // 8 < (1 << 32) - 1:
                first[stretch] = max(first[stretch] or 0, place // 8)
        last = 0
        for nth in first:
            last = last if nth is None else nth
            self.first.append(last)

    def buckets(self, p, at, end, new, table):
        if not table[1] & 1:
            return
        for at in range(at, end):
            row, by = divmod(new + at - table[2][1], 20)
            if 16 * row + 16 <= len(self.first):
                base, own = self.first[16 * row], self.first[16 * row + max(by - 4, 0)]
                p[at] = (base >> 8 * by if by < 4 else own - base) & 0xFF

    def lists(self, p, at, end, table):
        word = 8 if self.wide else 4
        while at + 1 + word <= end:
            to = self.address(field_of(p, at + 1, word)) if p[at] in (2, 5, 6, 7, 8) else None
            at += 1
            if to is not None and table[1] & 1:
                set_field(p, at, word, to)
                at += word

    def address(self, value):
        return self.aim(value) if value >= 4096 else None

    def grown(self, address, size, to):
        last = self.aim(address + size - 1) if size > 1 else None
        return last - to + 1 if last is not None and last >= to else None

    def frames(self, p, at, end, old, new, table):
        _, fields, offset, _, _, parents = table
        homes = self.place(self.old, old + at), self.place(self.new, new + at)
        if None in homes:
            return
        before, after = homes[0][0] - at, homes[1][0] - at
        at += (offset[0] - old - at) % 4
        while at + 4 <= end:
            parent = old + at - field_of(p, at, 4)
            if parent not in parents:
                at += 4
                continue
            to = self.moved(parent)
            if fields & 1 and to is not None:
                set_field(p, at, 4, new + at - to)
            at += 4
            if at + 8 <= end:
                function, size = before + at + sext(field_of(p, at, 4), 32) & M64, field_of(p, at + 4, 4)
                to = self.aim(function)
                if to is not None:
                    if fields & 2:
                        set_field(p, at, 4, to - after - at)
                    grown = self.grown(function, size, to) if fields & 4 else None
                    if grown is not None:
                        set_field(p, at + 4, 4, grown)
            if fields & 8 and at + 13 <= end and p[at + 8] == 4 and field_of(p, at + 9, 4):
                to = self.aim(before + at + 9 + sext(field_of(p, at + 9, 4), 32))
                if to is not None:
                    set_field(p, at + 9, 4, to - after - at - 9)

    def code(self, p, at, old, new, mode):
        if self.machine == X86:
            return self.x86(p, at, old, new, mode)
        if self.machine == ARM:
            return mode & 1 and old % 4 == 0 and self.a32(p, at, old, new) or mode & 2 and old % 2 == 0 and self.thumb(p, at, old, new)
        if self.machine == A64:
            return mode & 1 and old % 4 == 0 and self.a64(p, at, old, new)
        return self.machine == RISCV and mode & 1 and old % 2 == 0 and self.riscv(p, at, old, new)

    def x86(self, p, at, old, new, mode):
        first, second = p[at], p[at + 1] if at + 1 < len(p) else 0
        two = at + 1 < len(p)
        if mode & 1 and first in (0xE8, 0xE9):
            by = 1
        elif mode & 1 and two and first == 0x0F and second & 0xF0 == 0x80:
            by = 2
        elif mode & 2 and two and second & 0xC7 == 5:
            by = 2
        else:
            return 0
        word = get(p, at + by)
        to = None if word is None else self.aim(old + by + 4 + sext(word, 32))
        if to is None:
            return 0
        put(p, at + by, to - new - by - 4)
        return by + 4

    def a32(self, p, at, old, new):
        word = get(p, at)
        if word is None or word & 0x0E000000 != 0x0A000000:
            return 0
        to = self.aim(old + 8 + 4 * sext(word, 24))
        if to is None:
            return 0
        put(p, at, word & 0xFF000000 | (to - new - 8) >> 2 & 0xFFFFFF)
        return 4

    def thumb(self, p, at, old, new):
        word = get(p, at)
        if word is None:
            return 0
        a, b = word & 0xFFFF, word >> 16
        if a & 0xF800 != 0xF000 or b & 0xD000 not in (0xD000, 0xC000, 0x9000):
            return 0
        s, j1, j2 = a >> 10 & 1, b >> 13 & 1, b >> 11 & 1
        far = sext(s << 24 | (1 ^ j1 ^ s) << 23 | (1 ^ j2 ^ s) << 22 | (a & 0x3FF) << 12 | (b & 0x7FF) << 1, 25)
        begin = (lambda x: x + 4 & M64 & ~3) if b & 0xD000 == 0xC000 else (lambda x: x + 4)
        to = self.aim(begin(old) + far)
        if to is None:
            return 0
        far = to - begin(new)
        s = far >> 24 & 1
        a = a & 0xF800 | s << 10 | far >> 12 & 0x3FF
        b = b & 0xD000 | (1 ^ far >> 23 & 1 ^ s) << 13 | (1 ^ far >> 22 & 1 ^ s) << 11 | far >> 1 & 0x7FF
        put(p, at, a | b << 16)
        return 4

    def a64(self, p, at, old, new):
        word = get(p, at)
        if word is None:
            return 0
        top, low, bits = word >> 24, 0, 0
        if word & 0x7C000000 == 0x14000000:
            low, bits = 0, 26
        elif top in (0x54, 0x34, 0x35, 0xB4, 0xB5, 0x18, 0x58, 0x98, 0x1C, 0x5C, 0x9C):
            low, bits = 5, 19
        elif top in (0x36, 0x37, 0xB6, 0xB7):
            low, bits = 5, 14
        if bits:
            to = self.aim(old + 4 * sext(word >> low, bits))
            if to is None:
                return 0
            mask = (1 << bits) - 1
            put(p, at, word & ~(mask << low) | (to - new >> 2 & mask) << low)
            return 4
        if word & 0x9F000000 != 0x90000000:
            return 0
        register = word & 31
        page = ((old & ~0xFFF) + 4096 * sext((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)) & M64
        first = None
        for nth in range(1, 17):
            user = get(p, at + 4 * nth)
            if user is None or user & 0x9F00001F == 0x90000000 | register:
                break
            if user & 0xFFC00000 == 0x91000000:
                scale = 0
            elif user & 0x3B000000 == 0x39000000:
                scale = 4 if user & 0x04800000 == 0x04800000 and user >> 30 == 0 else user >> 30
            else:
                continue
            if user >> 5 & 31 != register:
                continue
            to = self.aim(page + ((user >> 10 & 0xFFF) << scale))
            if to is not None:
                first = to if first is None else first
                if to >> 12 == first >> 12 and (to & 0xFFF) % (1 << scale) == 0:
                    put(p, at + 4 * nth, user & ~(0xFFF << 10) | (to & 0xFFF) >> scale << 10)
            if user & 31 == register:
                break
        if first is None:
            first = self.aim(page)
        if first is None:
            return 0
        pages = (first >> 12) - (new >> 12)
        put(p, at, word & 0x9F00001F | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5)
        return 4

    def riscv(self, p, at, old, new):
        word = get(p, at)
        if word is None:
            return 0
        if word & 0x7F == 0x6F:
            far = (word >> 31) << 20 | (word >> 12 & 0xFF) << 12 | (word >> 20 & 1) << 11 | (word >> 21 & 0x3FF) << 1
            to = self.aim(old + sext(far, 21))
            if to is None:
                return 0
            far = to - new
            bits = (far >> 20 & 1) << 31 | (far >> 1 & 0x3FF) << 21 | (far >> 11 & 1) << 20 | (far >> 12 & 0xFF) << 12
            put(p, at, word & 0xFFF | bits)
            return 4
        if word & 0x7F != 0x17:
            return 0
        by = 4
        while by <= 32:
            user = get(p, at + by)
            if user is None:
                return 0
            kind = user & 0x7F
            if user >> 15 & 31 == word >> 7 & 31 and (kind in (3, 7, 0x67, 0x23, 0x27) or kind == 0x13 and not user >> 12 & 7):
                store = kind in (0x23, 0x27)
                low = sext((user >> 25) << 5 | user >> 7 & 31 if store else user >> 20, 12)
                to = self.aim(old + sext(word & 0xFFFFF000, 32) + low)
                if to is None:
                    return 0
                far = to - new
                put(p, at, word & 0xFFF | far + 0x800 & 0xFFFFF000)
                if store:
                    put(p, at + by, user & 0x01FFF07F | (far >> 5 & 0x7F) << 25 | (far & 31) << 7)
                else:
                    put(p, at + by, user & 0xFFFFF | (far & 0xFFF) << 20)
                return 4
            by += 4 if user & 3 == 3 else 2
        return 0

    def words(self, p, at, old, new, mode):
        if mode & 4 and self.wide and old % 8 == 0 and at + 8 <= len(p):
            value = struct.unpack_from("<Q", p, at)[0]
            to = self.aim(value) if value >= 4096 else None
            if to is not None:
                struct.pack_into("<Q", p, at, to)
                return 8
        word = get(p, at)
        if word is None:
            return 0
        if mode & 128 and not word >> 31:
            to = self.aim(old + sext(word, 31))
            if to is not None:
                put(p, at, to - new & 0x7FFFFFFF)
                return 4
        froms = [(old, new)] if mode & 16 else []
        froms += [self.bases[0]] if mode & 32 else []
        froms += [self.bases[1]] if mode & 64 else []
        for before, after in froms if word else []:
            to = self.aim(before + sext(word, 32))
            if to is not None:
                put(p, at, to - after)
                return 4
        if (mode & 8 or mode & 4 and not self.wide) and word >= 4096:
            to = self.aim(word)
            if to is not None:
                put(p, at, to)
                return 4
        return 0


def field_of(p, at, n):
    return int.from_bytes(p[at:at + n], "little")


def set_field(p, at, n, value):
    p[at:at + n] = (value & (1 << 8 * n) - 1).to_bytes(n, "little")


def get(piece, at):
    return struct.unpack_from("<I", piece, at)[0] if at + 4 <= len(piece) else None


def put(piece, at, word):
    struct.pack_into("<I", piece, at, word & 0xFFFFFFFF)


# Debugging information

class Debug:
    FIXED = {0x19: 0, 0x21: 0, 0x1E: 16, 0x1F20: 4, 0x1F21: 4}
    FIXED.update(dict.fromkeys((0x0B, 0x0C, 0x11, 0x25, 0x29), 1))
    FIXED.update(dict.fromkeys((0x05, 0x12, 0x26, 0x2A), 2))
    FIXED.update(dict.fromkeys((0x27, 0x2B), 3))
    FIXED.update(dict.fromkeys((0x06, 0x0E, 0x13, 0x17, 0x1C, 0x1D, 0x1F, 0x28, 0x2C), 4))
    FIXED.update(dict.fromkeys((0x07, 0x14, 0x20, 0x24), 8))

    def __init__(self, program, body, size):
        """Reads abbreviations and entries of the old body."""
        self.word = 8 if program.wide else 4
        self.forms, self.units, self.first, self.bases = {**self.FIXED, 1: self.word}, [], {}, ([], [])
        table = next((table for table in program.tables if table[0] == ENTRIES), None)
        if not table:
            return
        (start, length), ((place, _), abbrev_length) = (table[2][0], table[3][0]), table[4][0]
        if length > min(1 << 23, 4 * size) or abbrev_length > min(1 << 18, 4 * size):
            return
        need(place + abbrev_length <= len(body) and start + length <= len(body), "an index beyond its program")
        self.read_abbreviations(body[place:place + abbrev_length])
        info, unit, end, at = body[start:start + length], None, 0, 0
        while at < length:
            if at == end:
                header = self.header(info, at)
                if not header or len(self.units) == 16384:
                    break
                unit, header_length = header
                self.note(at)
                self.units.append(unit)
                base, seen, end = None, [False, False], unit[1]
                at = at + header_length if unit[3] else end
                continue
            self.note(at)
            fields, after = self.entry(info[at:at + 4096], unit)
            places = [[field_of(info, at + p, n) for what, p, n in fields if what == wanted] for wanted in ("low", 2, 4)]
            if base is None:
                base = places[0][-1] if places[0] else 0
            for nth in range(2):
                if places[1 + nth] and not seen[nth]:
                    seen[nth] = True
                    self.bases[nth].append((places[1 + nth][0], base))
            at = min(end if after is None else at + after, end)
        for bases in self.bases:
            bases.sort()

    def note(self, at):
        self.first.setdefault(at // 32, at)

    def read_abbreviations(self, data):
        self.tables, at, first, table = {}, 0, 0, []
        while True:
            code, at = leb(data, at, len(data))
            if at is None:
                return
            if code == 0:
                if table:
                    self.tables[first] = table
                first, table = at, []
                continue
            _, at = leb(data, at, len(data))
            if at is None or at >= len(data):
                return
            at, attributes = at + 1, []
            while True:
                attribute, at = leb(data, at, len(data))
                form, at = leb(data, at, len(data)) if at is not None else (0, None)
                if at is None:
                    return
                if (attribute, form) == (0, 0):
                    break
                if form == 0x21:
                    _, at = leb(data, at, len(data))
                    if at is None:
                        return
                attributes.append((attribute, form))
            if len(attributes) > 48 or code != len(table) + 1:
                return
            table.append(attributes)

    def header(self, info, at):
        if at + 6 > len(info):
            return None
        length, version = field_of(info, at, 4), field_of(info, at + 4, 2)
        size = {2: 11, 3: 11, 4: 11, 5: 12}.get(version, 6)
        if length >= 0xFFFFFFF0 or at + size > len(info) or 4 + length < size:
            return None
        kind, word, place = 0, 0, None
        if version == 5:
            kind, word, place = info[at + 6], info[at + 7], field_of(info, at + 8, 4)
        elif size == 11:
            kind, word, place = 1, info[at + 10], field_of(info, at + 6, 4)
        known = kind in (1, 3) and word == self.word
        return (at, at + 4 + length, version, self.tables.get(place) if known else None), size

    def entry(self, data, unit):
        """What an entry has that is foretold: what, where, how long; and the entry's length, None if it is cut or not known."""
        fields, limit = [], len(data)
        code, at = leb(data, 0, limit)
        if at is None or code == 0:
            return fields, at
        if code > len(unit[3]):
            return fields, None
        for attribute, form in unit[3][code - 1]:
            start = at
            if form in self.forms:
                at += self.forms[form]
                if at > limit:
                    return fields, None
                what = self.meaning(attribute, form, unit[2])
                if what is not None:
                    fields.append((what, start, at - start))
            elif form == 8:
                at = data.find(b"\0", at) + 1
                if at == 0:
                    return fields, None
            elif form in (0x0D, 0x0F, 0x15, 0x1A, 0x1B, 0x22, 0x23):
                _, at = leb(data, at, limit)
                if at is None:
                    return fields, None
            elif form == 0x10:
                at += self.word if unit[2] < 3 else 4
            elif form in (3, 4, 9, 10, 0x18):
                n = {3: 2, 4: 4, 10: 1}.get(form)
                length, at = (field_of(data, at, n), at + n) if n else leb(data, at, limit)
                if at is None or at + length > limit:
                    return fields, None
                if length >= 1 + self.word and data[at] == 3:
                    fields.append(("address", at + 1, self.word))
                at += length
            else:
                return fields, None
            if at > limit:
                return fields, None
        return fields, at

    @staticmethod
    def meaning(attribute, form, version):
        part = {0x10: 6, 0x55: 4, 2: 2, 0x40: 2, 0x2137: 2}.get(attribute)
        if form == 1:
            return "low" if attribute == 0x11 else "address"
        if attribute == 0x12 and form in (6, 7):
            return "size"
        if form == 0x0E:
            return 1
        if form == 0x13:
            return "reference"
        if part is not None and (form == 0x17 or form == 6 and version < 4):
            return part + 1 if part in (2, 4) and version >= 5 else part
        return None

    def after(self, start, end):
        """The first place that is known to be an entry's or a unit's begin."""
        for step in range(start // 32, -(-end // 32)):
            place = self.first.get(step, -1)
            if place >= start:
                return place if place < end else None
        return None

    def foretell(self, program, p, at, end, old, table):
        zero = table[2][0] - old
        place = self.after(at - zero, end - zero)
        while place is not None and place < end - zero:
            unit = next((unit for unit in reversed(self.units) if unit[0] <= place), None)
            if not unit or place >= unit[1]:
                return
            at, next_place = place + zero, None
            if place == unit[0]:
                size = 12 if unit[2] >= 5 else 11
                if unit[3] and at + size <= end:
                    self.foretell_header(program, p, at, unit, table)
                    next_place = place + size
            else:
                fields, length = self.entry(bytes(p[at:min(end, at + 4096)]), unit)
                self.foretell_entry(program, p, at, fields, unit, table)
                if length is not None and place + length < unit[1]:
                    next_place = place + length
            place = self.after(place + 1, end - zero) if next_place is None else next_place

    def foretell_header(self, program, p, at, unit, table):
        last = self.reference(program, table, unit, unit[1] - unit[0] - 1)
        if table[1] & 8 and last is not None:
            set_field(p, at, 4, last - 3)
        place = at + (8 if unit[2] >= 5 else 6)
        to = program.within(table[4][0], field_of(p, place, 4))
        if table[1] & 1 and to is not None:
            set_field(p, place, 4, to)

    def foretell_entry(self, program, p, at, fields, unit, table):
        low = None
        for what, place, n in fields:
            value = field_of(p, at + place, n)
            if what in ("low", "address"):
                bit, to = 1 << 5, program.address(value)
                if what == "low" and to is not None:
                    low = value, to
            elif what == "size":
                bit, to = 1 << 7, program.grown(low[0], value, low[1]) if low else None
            elif what == "reference":
                bit, to = 1 << 3, self.reference(program, table, unit, value)
            else:
                bit, to = 1 << {3: 2, 5: 4}.get(what, what), program.within(table[4][what], value)
            if table[1] & bit and to is not None:
                set_field(p, at + place, n, to)

    @staticmethod
    def reference(program, table, unit, value):
        start = table[2][0] + unit[0]
        old, new = program.moved(start), program.moved(start + value)
        return None if old is None or new is None else new - old & M64

    def pairs(self, program, p, at, end, old, table):
        is_ranges, word = table[0] == RANGES, self.word
        zero = table[2][0] - old
        if is_ranges:
            at += -(at - zero) % (2 * word)
        while at + 2 * word <= end:
            base = max((base for base in self.bases[is_ranges] if base[0] <= at - zero), default=(0, 0))[1]
            start, stop = field_of(p, at, word), field_of(p, at + word, word)
            made = (program.aim(base + start), program.aim(base + stop)) if start <= stop and stop else (None,)
            length = 1 if is_ranges else field_of(p, at + 2 * word, 2) if at + 2 * word + 2 <= end else 0
            if None not in made and 1 <= length <= 255:
                if table[1] & 1:
                    new = program.aim(base) if base else 0
                    new = base if new is None else new
                    set_field(p, at, word, made[0] - new)
                    set_field(p, at + word, word, made[1] - new)
                at += 2 * word + (0 if is_ranges else 2 + length)
            elif start == (1 << 8 * word) - 1:
                to = program.address(stop)
                if table[1] & 1 and to is not None:
                    set_field(p, at + word, word, to)
                at += 2 * word
            else:
                at += 2 * word if is_ranges or start == stop == 0 else 1


def leb(data, at, limit):
    value = shift = 0
    while at < limit:
        byte = data[at]
        value |= (byte & 0x7F) << shift if shift < 64 else 0
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value & M64, at
    return 0, None


# The applier

class Applier:
    def __init__(self, head, base):
        self.head, self.base, self.out = head, base, bytearray()
        self.s = head.sections
        self.cursor = self.drift = self.elsewhere = 0
        self.last = Group(bytes(BLOCK))
        self.shifts, self.runs = [0] * 4, [0, 0]

    def read(self, at, n):
        need(0 <= at and at + n <= len(self.base), "a place that is not in the base")
        return self.base[at:at + n]

    def emit(self, data):
        need(len(self.out) + len(data) <= self.head.size, "more than the tar's size")
        self.out += data

    def entry(self):
        numbers, text = self.s[NUMBERS], self.s[TEXT]
        flags = self.s[FLAGS].take(1)[0]
        source, body, old = flags & 3, flags >> 6, None
        if source < 2:
            at = self.cursor + (BLOCK * numbers.signed() if source else 0)
            group = Group.read(at, self.read)
            old = at + len(group.bytes), group.size
            self.cursor = at + group.span()
        elif source == 2:
            group = self.last.template()
        else:
            blocks = numbers.number()
            need(1 <= blocks <= 64, "the length of headers")
            group = Group(text.take(blocks * BLOCK))
        if flags & 0x3C:
            self.change(flags, group, source < 2)
        if flags & 0x3F:
            group = group.parsed()
        place = None
        if body == 0 and group.size:
            need(old is not None and old[1] == group.size, "a body that is not there")
            place = old[0]
        elif body == 1:
            place = self.elsewhere + numbers.signed()
            self.elsewhere = place + group.size
        need(body < 3, "an entry's flags")
        self.emit(group.bytes)
        if place is not None:
            self.emit(self.read(place, group.size))
        if body == 2:
            self.pieces(old or (0, 0), group.size)
        self.emit(bytes(-group.size % BLOCK))
        self.last = group

    def change(self, flags, group, of_base):
        numbers, text = self.s[NUMBERS], self.s[TEXT]
        if flags & 4:
            shared, more = numbers.number(), numbers.number()
            need(shared <= len(self.last.path) and more <= 4096, "a path")
            group.set_path(self.last.path[:shared] + text.take(more))
        if flags & 8:
            by = numbers.signed()
            if of_base:
                self.drift += by
            group.write(136, 148, group.time() + (self.drift if of_base else by))
        if flags & 16:
            group.size += numbers.signed()
            group.write(124, 136, group.size)
        runs, own = divmod(numbers.number(), 2) if flags & 32 else (0, 0)
        at = 0
        for _ in range(runs):
            at += numbers.number()
            length = numbers.number()
            need(at + length <= len(group.bytes), "headers")
            group.bytes[at:at + length] = text.take(length)
            at += length
        group.put(148, text.take(8) if own else b"%06o\0 " % checksum(group.get(0, BLOCK)))

    def pieces(self, old, size):
        start, length = old
        count = self.s[NUMBERS].number()
        need(count <= self.head.most, "too many copies")
        copies, at = [], 0
        for _ in range(count):
            at += self.s[GAPS].number()
            n, code = self.s[COPIES].number(), self.s[SHIFTS].number()
            need(1 <= n <= 131072 and at + n <= size, "the length of a copy")
            shift = self.shifts[code] if code < 4 else self.shifts[0] + signed(code - 4)
            if shift in self.shifts:
                self.shifts.remove(shift)
            self.shifts = [shift] + self.shifts[:3]
            copies.append((at, n, start + at + shift))
            at += n
        inside = [start <= place and place + n <= start + length for _, n, place in copies]
        program, first = None, self.s[NUMBERS].number()
        if first:
            need(size <= 1 << 30, "a program")
            spans = [(c[2] - start, c[2] - start + c[1], c[0] - (c[2] - start)) for c, i in zip(copies, inside) if i]
            program = Program(first, self.s[NUMBERS], spans)
            program.map()
            program.learn(self.read(start, length), size)
            modes = self.s[MODES].take(-(-size // SPAN))
        done = 0
        for (at, n, place), is_inside in zip(copies, inside):
            self.emit(self.s[LITERALS].take(at - done))
            piece = bytearray(self.read(place, n))
            if program and is_inside:
                program.foretell(piece, place - start, at, modes)
            self.differ(piece)
            self.emit(piece)
            done = at + n
        self.emit(self.s[LITERALS].take(size - done))

    def differ(self, piece):
        at = 0
        while at < len(piece):
            if self.runs == [0, 0]:
                self.runs = [self.s[RUNS].number(), self.s[RUNS].number()]
                need(self.runs != [0, 0], "a run of nothing")
            n = min(self.runs[0], len(piece) - at)
            self.runs[0] -= n
            at += n
            n = min(self.runs[1], len(piece) - at) if self.runs[0] == 0 else 0
            for by, change in enumerate(self.s[CHANGES].take(n)):
                piece[at + by] = (piece[at + by] + change) & 0xFF
            self.runs[1] -= n
            at += n

    def run(self):
        for _ in range(self.head.entries):
            self.entry()
        self.emit(bytes(min(self.s[NUMBERS].number(), self.head.size + 1)))
        self.emit(self.s[LITERALS].take(self.head.size - len(self.out)))
        need(all(s.at == len(s.data) for s in self.s), "more than it should have")
        need(hashlib.sha256(self.out).digest() == self.head.target, "another tar than announced")
        return self.out


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    tars = [open(path, "rb").read() for path in sys.argv[3:]]
    head = Head(open(sys.argv[1], "rb").read())
    try:
        need([hashlib.sha256(tar).digest() for tar in tars] == head.base, "another base than announced")
        new = Applier(head, b"".join(tars)).run()
    except Bad as e:
        sys.exit(f"invalid delta: {e}")
    open(sys.argv[2], "wb").write(new)


if __name__ == "__main__":
    main()
