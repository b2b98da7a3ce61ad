# SPDX-License-Identifier: Apache-2.0
# checks.py: finds the checks in the kernel's decision code and makes each of them removable.
#
# Nothing is listed by hand. A check is found by its form: the condition of a guard or an if whose consequence refuses
# something, a conjunct of a predicate, a refusal in a switch, a right that a call asks for, a precondition. It gets a
# number, and the source is rewritten so that one word of memory says which number is switched off:
#
#   guard a, b else { throw .x }    guard ((a) || mutant(1)), ((b) || mutant(2)) else { throw .x }
#   if a || b { throw .x }          if ((a) && !mutant(3)) || ((b) && !mutant(4)) { throw .x }
#   needing: .write                 needing: mutant(5) ? Rights(rawValue: 0) : .write
import re
from dataclasses import dataclass, field

# What a refusal does.
REFUSAL = re.compile(
    r"\bthrow\b|\.fault\(|\.failure\(|\bfailure = |\bforbidden \|=|\breturn (nil|false|\.none)\b|\bendCurrent\(|\bpreconditionFailure\b")
# Blocks inside of a consequence: what they refuse has conditions of its own.
INNER = re.compile(r"\{[^{}]*\}")
# A condition that compares authority is a check whatever follows from it.
AUTHORITY = re.compile(r"\bguard\b|\bguard_length\b|\brights\b|\bcapability\b|\bisPowerless\b")


@dataclass
class Check:
    file: str
    line: int
    kind: str  # guard, if, predicate, case, right, assertion
    text: str
    edits: list = field(default_factory=list)  # (position, length, replacement); @ stands for the number
    number: int = 0

    @property
    def name(self):
        return f"{self.file} {self.kind} `{self.text}`"


def masked(source):
    """The source with comments and string literals blanked, at the same length."""
    out, i, n = [], 0, len(source)
    while i < n:
        two = source[i : i + 2]
        if two == "//":
            j = source.find("\n", i)
            j = n if j < 0 else j
        elif two == "/*":
            j = source.find("*/", i)
            j = n if j < 0 else j + 2
        elif source[i] == '"':
            j = i + 1
            while j < n and source[j] != '"':
                j += 2 if source[j] == "\\" else 1
            j += 1
        else:
            out.append(source[i])
            i += 1
            continue
        out.append("".join(c if c == "\n" else " " for c in source[i:j]))
        i = j
    return "".join(out)


def closing(text, at):
    """The position after the bracket that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        if text[i] in "([{":
            depth += 1
        elif text[i] in ")]}":
            depth -= 1
            if depth == 0:
                return i + 1
    raise ValueError("a bracket is never closed")


def at_depth_0(text, start, what):
    """Where the pattern is found first outside of brackets, from `start`."""
    pattern = re.compile(what)
    i = start
    while i < len(text):
        match = pattern.match(text, i)
        if match:
            return match
        if text[i] in "([{":
            i = closing(text, i)
        elif text[i] in ")]}":
            return None
        else:
            i += 1
    return None


def split(text, start, end, separator):
    """The parts (start, end) between separators outside of brackets, without the space around them."""
    parts, depth, begin, i = [], 0, start, start
    while i < end:
        if text[i] in "([{":
            depth += 1
        elif text[i] in ")]}":
            depth -= 1
        elif depth == 0 and text.startswith(separator, i):
            parts.append((begin, i))
            i += len(separator)
            begin = i
            continue
        i += 1
    parts.append((begin, end))
    trimmed = []
    for a, b in parts:
        while a < b and text[a].isspace():
            a += 1
        while b > a and text[b - 1].isspace():
            b -= 1
        if a < b:
            trimmed.append((a, b))
    return trimmed


BINDING = re.compile(r"(let|var|case)\b|#")


class Finder:
    def __init__(self, file, source):
        self.file, self.source, self.text = file, source, masked(source)
        self.checks = []
        self.bound = 0  # conditions that the compiler needs for the value they bind

    def add(self, kind, a, b, edits):
        text = " ".join(self.source[a:b].split())
        line = self.source.count("\n", 0, a) + 1
        self.checks.append(Check(self.file, line, kind, text, edits))

    def must_hold(self, kind, a, b):
        """Each conjunct of something that has to be true becomes true."""
        parts = split(self.text, a, b, "&&")
        if len(split(self.text, a, b, "||")) > 1 or "?" in self.text[a:b].replace("??", ""):
            parts = [(a, b)]
        for x, y in parts:
            self.add(kind, x, y, [(x, 0, "(("), (y, 0, ") || mutant(@))")])

    def must_not_hold(self, kind, a, b):
        """Each alternative of something that has to be false becomes false."""
        for x, y in split(self.text, a, b, "||"):
            self.add(kind, x, y, [(x, 0, "(("), (y, 0, ") && !mutant(@))")])

    def conditions(self):
        for match in re.finditer(r"(?<![\w.`])(guard|if)(?=[ \n])", self.text):
            before = self.text[: match.start()].rstrip(" ")
            if before and before[-1] not in "\n{};:" and not before.endswith("else"):
                continue
            word, start = match.group(1), match.end()
            end = at_depth_0(self.text, start, r"\belse\s*\{" if word == "guard" else r"\{")
            if not end:
                continue
            brace = end.end() - 1
            body = self.text[brace + 1 : closing(self.text, brace) - 1]
            while INNER.search(body):
                body = INNER.sub("", body)
            condition = self.text[start : end.start()]
            if not REFUSAL.search(body) and not AUTHORITY.search(condition):
                continue
            clauses = split(self.text, start, end.start(), ",")
            free = [(a, b) for a, b in clauses if not BINDING.match(self.text, a)]
            if word == "guard":
                self.bound += len(clauses) - len(free)
                for a, b in free:
                    self.must_hold("guard", a, b)
            elif len(clauses) == 1 and free:
                self.must_not_hold("if", *free[0])
            else:
                a, b = clauses[0][0], clauses[-1][1]
                self.add("if", a, b, [(a, 0, "!mutant(@), ")])

    def predicates(self):
        for match in re.finditer(r"(->|:) Bool \{", self.text):
            end = closing(self.text, match.end() - 1) - 1
            start = match.end()
            body = self.text[start:end]
            inner = re.match(r"\s*(return\b)?\s*", body)
            start += inner.end()
            if re.search(r"\b(guard|if|return|let|var|while|for|switch|get|set|do|try)\b|[{;]|[^=!<>]=[^=]", self.text[start:end]):
                continue
            while end > start and self.text[end - 1].isspace():
                end -= 1
            if len(split(self.text, start, end, "||")) > 1:
                self.must_not_hold("predicate", start, end)
            elif len(split(self.text, start, end, "&&")) > 1:
                self.must_hold("predicate", start, end)

    def refusals_in_switches(self):
        for match in re.finditer(r"(case [^\n]*|default):\s*(throw [\w.]+)[ \t]*(?=\n)", self.text):
            a, b = match.span(2)
            self.add("case", match.start(), match.end(), [(a, 0, "if !mutant(@) { "), (b, 0, " }")])

    def rights(self):
        for match in re.finditer(r"\b(needing|needs): (\.(?:write|read|grant)\b)", self.text):
            a, b = match.span(2)
            line = self.text.rfind("\n", 0, a) + 1
            self.add("right", line, self.text.find("\n", a), [(a, b - a, f"(mutant(@) ? Rights(rawValue: 0) : Rights{match.group(2)})")])
            self.checks[-1].text = self.checks[-1].text.strip()

    def assertions(self):
        for match in re.finditer(r"\bprecondition\(", self.text):
            end = closing(self.text, match.end() - 1) - 1
            a, b = split(self.text, match.end(), end, ",")[0]
            self.add("assertion", a, b, [(a, 0, "("), (b, 0, ") || mutant(@)")])

    def find(self, with_assertions):
        self.conditions()
        self.predicates()
        self.refusals_in_switches()
        self.rights()
        if with_assertions:
            self.assertions()
        return self.checks


def find(file, source, with_assertions=False):
    """All checks of a file, in the order of its lines, and how many conditions only bind a value."""
    finder = Finder(file, source)
    checks = finder.find(with_assertions)
    checks.sort(key=lambda check: check.edits[0][0])
    seen = {}
    for check in checks:  # the same text twice in a file: told apart by its turn
        seen[check.name] = seen.get(check.name, 0) + 1
        if seen[check.name] > 1:
            check.text += f" #{seen[check.name]}"
    return checks, finder.bound


def rewrite(source, checks):
    """The source in which each of the checks can be switched off by its number."""
    edits = []
    for check in checks:
        for order, (position, length, text) in enumerate(check.edits):
            # At one position, what closes comes before what opens.
            edits.append((position, order, check.number, length, text.replace("@", str(check.number))))
    edits.sort(key=lambda edit: (edit[0], -edit[1] if edit[4].startswith(")") else 1))
    out, at = [], 0
    for position, _, _, length, text in edits:
        out.append(source[at:position])
        out.append(text)
        at = position + length
    out.append(source[at:])
    result = "".join(out)
    if checks and not re.search(r"^import CApusABI$", result, re.M):
        result = re.sub(r"^import ", "import CApusABI\nimport ", result, count=1, flags=re.M)
    return result
