"""What is a use of the gate, and what stands in its place when it is taken away: one rule for each kind.

A rule looks at one expression and yields its replacements. All of them open a door: what only makes things stricter is
no mutant here.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.mutants.code import Place, action_named, alternatives, call, called, expression, last, raised, without

#: Calls that refuse by raising, and whose answer nobody uses.
CHECKS = frozenset({
    "authorise", "authorise_decision", "admit", "admit_part", "rights", "check_rights", "check_permissions",
    "enforce_csrf",
    "refuse_more_than_held", "refuse_other_than_approved", "break_glass", "_authorise_membership",
    "_refuse_longer_than_held", "_refuse_decided", "_refuse_scope",
})  # fmt: skip
#: Calls that answer yes or no -> the answer that opens.
ANSWERS = {
    **dict.fromkeys(["can", "may_decide", "may_cancel", "manages", "has_permission", "_is_active"], True),
    "needs_approval": False,
    "covers": True,
}
#: Calls that are told an action.
ASKING = frozenset({
    "authorise", "can", "visible_to", "visible_or_404", "held_on", "admin_view", "explain_for",
    "_holds_everywhere", "on_everything",
})  # fmt: skip
#: Names of sets of actions that somebody holds.
HELD = frozenset({"held", "rights", "allowed_actions"})
REFUSALS = frozenset({
    "NotAllowed", "NotVisible", "PermissionDenied", "Http404", "NoSuchObject", "AuthenticationFailed",
    "RightWithdrawn",
})  # fmt: skip
#: Files in which every condition that ends in an error or in nothing is about access.
DECIDING = re.compile(
    r"access/(gate|effects|querysets|people_querysets|backends|explain|preview)\.py|access/services/\w+\.py"
    r"|jobs/approvals\.py|portal/pages/approval_facts\.py|portal/api/authentication\.py"
)
#: Of those, the ones in which to return nothing is to refuse.
_NOTHING_REFUSES = re.compile(r"access/(gate|querysets|people_querysets|backends)\.py")
_FILTERING = re.compile(r"access/\w+\.py|access/services/\w+\.py|jobs/(approvals|services)\.py")
#: Functions whose answer is a yes only if all of several conditions hold.
_ALL_OF = frozenset({
    "_is_active", "has_perm", "has_module_perms", "may_decide", "may_cancel", "manages", "is_open", "denies",
    "counts", "_authorise_membership",
})  # fmt: skip
_SQL = re.compile(r"\(expires_at IS NULL OR expires_at > \{now\}\)|[\w.]+ = %s")
_SETTINGS = frozenset({"LoginRequiredMiddleware", "DeclaredActionMiddleware", "IsAuthenticated"})


@dataclass(frozen=True, slots=True)
class Change:
    """A replacement for an expression. `shown` says it in short, where the code would not read well."""

    instead: ast.expr
    shown: str = ""

    @property
    def text(self) -> str:
        """The replacement, for people."""
        return self.shown or ast.unparse(self.instead)


Rule = Callable[[ast.expr, Place], Iterator[Change]]


def a_check_is_left_out(node: ast.expr, place: Place) -> Iterator[Change]:
    if called(node) in CHECKS and isinstance(place.parent, ast.Expr):
        yield Change(ast.Constant(None), "nothing")


def a_question_is_answered_yes(node: ast.expr, place: Place) -> Iterator[Change]:
    name = called(node)
    if name in ANSWERS:
        yield Change(ast.Constant(ANSWERS[name]))
    if name == "isinstance" and ast.unparse(node).endswith(", System)") and DECIDING.fullmatch(place.path):
        above = next((above for above in place.above if isinstance(above, ast.If)), None)
        asked = above is not None and any(node is inner for inner in ast.walk(above.test))
        if asked and not _refuses(above, place) and isinstance(last(above.body), ast.Return):
            yield Change(ast.Constant(True))


def everything_is_held(node: ast.expr, place: Place) -> Iterator[Change]:
    match called(node), node:
        case "held_on", ast.Call():
            yield Change(call("every_action"), "every action")
        case "actions_on", ast.Call(args=[_user, objects]):
            yield Change(call("everything_on", objects), "every action on each")
        case "reach", ast.Call():
            yield Change(expression("[]"))
        case "_as_seen_by", ast.Call(args=[_actor, found]):
            yield Change(copy.deepcopy(found))
        case "explain_for", ast.Call(args=[_actor, *asked]):
            yield Change(call("explain", *asked), "explained to anybody")


def a_list_is_not_narrowed(node: ast.expr, place: Place) -> Iterator[Change]:
    match called(node), node:
        case "visible_to", ast.Call(func=ast.Attribute(value=rows)):
            yield Change(ast.Call(ast.Attribute(copy.deepcopy(rows), "all", ast.Load()), [], []))
        case "visible_or_404", ast.Call(args=[_request, rows, key, *_rest]):
            yield Change(call("whatever_is_there", rows, key), "seen or not")
        case "seen_by", ast.Call(args=[_request, rows, reference]):
            yield Change(call("whatever_is_named", rows, reference), "seen or not")


def an_action_is_a_weaker_one(node: ast.expr, place: Place) -> Iterator[Change]:
    """Where something is asked about an action, it is asked about VIEW."""
    asked = place.parent
    if isinstance(asked, ast.keyword):
        asked = place.above[1]
    if not isinstance(asked, ast.Call) or called(asked) not in ASKING or action_named(node) == "VIEW":
        return
    is_second = called(asked) in ("authorise", "can") and node in asked.args[1:2]
    is_fourth = called(asked) == "visible_or_404" and node in asked.args[3:4]
    if action_named(node) or is_second or is_fourth:
        yield Change(expression("__stand_in__.VIEW"), "Action.VIEW")


def a_refusal_never_happens(node: ast.expr, place: Place) -> Iterator[Change]:
    above = next((above for above in place.above if isinstance(above, ast.If)), None)
    if above is None or not _refuses(above, place):
        return
    answered = isinstance(node, ast.UnaryOp) and called(node.operand) in ANSWERS  # has a mutant of its own
    if (node is above.test and not answered) or any(node is operand for operand in alternatives(above.test)):
        yield Change(ast.Constant(False))


def a_check_is_made_for_nobody(node: ast.expr, place: Place) -> Iterator[Change]:
    """A condition under which several checks are made, and nothing else."""
    above = place.parent
    if isinstance(above, ast.If) and node is above.test and not above.orelse:
        calls = [statement.value for statement in above.body if isinstance(statement, ast.Expr)]
        if 1 < len(calls) == len(above.body) and all(called(made) in CHECKS for made in calls):
            yield Change(ast.Constant(False))


def an_alternative_does_not_refuse(node: ast.expr, place: Place) -> Iterator[Change]:
    """`ended = unknown or expired`, where tokens are read."""
    is_alternative = isinstance(place.parent, ast.BoolOp) and isinstance(place.parent.op, ast.Or)
    if is_alternative and place.path == "portal/api/authentication.py" and isinstance(place.above[1], ast.Assign):
        yield Change(ast.Constant(False))


def one_of_several_conditions_is_enough(node: ast.expr, place: Place) -> Iterator[Change]:
    above = place.parent
    if not (isinstance(above, ast.BoolOp) and isinstance(above.op, ast.And) and DECIDING.fullmatch(place.path)):
        return
    if (
        place.names[-1] in _ALL_OF
        and called(node) not in ANSWERS
        and not any(_is_refusal(x, place) for x in place.above)
    ):
        yield Change(ast.Constant(True))


def a_filter_lets_all_through(node: ast.expr, place: Place) -> Iterator[Change]:
    if called(node) not in ("filter", "exclude") or not _FILTERING.fullmatch(place.path):
        return
    match node:
        case ast.Call(func=ast.Attribute(value=rows), args=args, keywords=keywords):
            for number in range(len(args) + len(keywords)):
                left = without(node, number)
                if left.args or left.keywords:
                    yield Change(left)
                else:
                    yield Change(ast.Call(ast.Attribute(copy.deepcopy(rows), "all", ast.Load()), [], []))


def an_action_counts_as_held(node: ast.expr, place: Place) -> Iterator[Change]:
    """`Action.GRANT in held`, `set(role.actions) <= held`, `held & {...}`."""
    match node:
        case ast.Compare(left=left, ops=[ast.In() | ast.NotIn() as how], comparators=[right]):
            if (action_named(left) or getattr(left, "attr", getattr(left, "id", "")) == "action") and _is_held(right):
                yield Change(ast.Constant(isinstance(how, ast.In)))
        case ast.Compare(ops=[ast.LtE()], comparators=[right]) if _is_held(right) or called(right) == "held_on":
            yield Change(ast.Constant(True))
        case ast.BinOp(left=left, op=ast.BitAnd(), right=ast.Set()) if _is_held(left):
            yield Change(call("every_action"), "every action")


def a_rule_of_the_gate_is_left_out(node: ast.expr, place: Place) -> Iterator[Change]:
    """Denials, VIEW beside the action, and what is only for VIEW, where lists and checks are made."""
    if not place.path.startswith("access/") or not DECIDING.fullmatch(place.path):
        return
    parent = place.parent
    if isinstance(parent, ast.AugAssign) and isinstance(parent.op, ast.Sub) and node is parent.value:
        yield Change(expression("set()"))
    match node:
        case ast.BinOp(left=left, op=ast.BitAnd(), right=right) if not isinstance(right, ast.Set):
            yield Change(copy.deepcopy(left))
            yield Change(copy.deepcopy(right))
        case ast.Set(elts=parts) if len(parts) > 1 and place.in_function:
            for part in parts:
                if action_named(part):
                    yield Change(ast.Set([copy.deepcopy(other) for other in parts if other is not part]))
        case ast.Compare(ops=[ast.Eq()], comparators=[ast.Constant("allow")]):
            yield Change(ast.Constant(True))
        case ast.Compare(left=ast.Name("action"), ops=[ast.Eq()], comparators=[right]) if action_named(right) == "VIEW":
            yield Change(ast.Constant(True))


def a_condition_of_the_statement_is_left_out(node: ast.expr, place: Place) -> Iterator[Change]:
    """The gate's own SQL: whose rows, of which action and effect, not ended, an active account."""
    if place.path != "access/effects.py" or not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return
    if isinstance(place.parent, ast.Expr) or (place.in_function and isinstance(place.parent, ast.JoinedStr)):
        return
    for found in _SQL.finditer(node.value):
        always = "%s IS NOT NULL" if found[0].endswith("%s") else "(1 = 1)"
        changed = node.value[: found.start()] + always + node.value[found.end() :]
        yield Change(ast.Constant(changed), f"without {found[0]}")


def nobody_asks_who_it_is(node: ast.expr, place: Place) -> Iterator[Change]:
    if place.path == "portal/settings.py" and isinstance(node, ast.List):
        for part in node.elts:
            if isinstance(part, ast.Constant) and str(part.value).rpartition(".")[2] in _SETTINGS:
                left = ast.List([copy.deepcopy(other) for other in node.elts if other is not part], ast.Load())
                yield Change(left, f"without {part.value}")


def the_read_only_site_allows_changes(node: ast.expr, place: Place) -> Iterator[Change]:
    is_answer = isinstance(place.parent, ast.Return) and isinstance(node, ast.Constant) and node.value is False
    if is_answer and re.fullmatch(r"has_\w+_permission", place.names[-1]) and place.path.startswith("portal/admin/"):
        yield Change(ast.Constant(True))


def a_declaration_is_a_weaker_one(node: ast.expr, place: Place) -> Iterator[Change]:
    """What a view or an operation declares. A page for anybody who is signed in becomes one for everybody."""
    if not isinstance(place.parent, ast.Assign) or node is not place.parent.value:
        return
    target = place.parent.targets[0]
    name = getattr(target, "attr", getattr(target, "id", ""))
    if name == "declared_action" and place.path != "portal/declared.py":
        weaker = {"SIGNED_IN": "PUBLIC", "PUBLIC": ""}.get(ast.unparse(node), "SIGNED_IN")
        if weaker:
            yield Change(expression(f"__stand_in__.{weaker}"), weaker)
    if name == "action" and place.path.startswith("jobs/operations/") and action_named(node):
        yield Change(expression("__stand_in__.VIEW"), "Action.VIEW")


def _refuses(statement: ast.If, place: Place) -> bool:
    """Whether what a condition guards is a refusal."""
    end = last(statement.body)
    if isinstance(end, ast.Raise):
        return raised(end) in REFUSALS or bool(DECIDING.fullmatch(place.path))
    return isinstance(end, ast.Return) and bool(_NOTHING_REFUSES.fullmatch(place.path)) and _is_nothing(end.value)


def _is_refusal(node: ast.AST, place: Place) -> bool:
    return isinstance(node, ast.If) and _refuses(node, place)


def _is_nothing(node: ast.expr | None) -> bool:
    return node is not None and (
        ast.unparse(node) in ("None", "False", "set()", "{}", "[]", "self.none()")
        or (isinstance(node, ast.DictComp) and ast.unparse(node.value) == "set()")
    )


def _is_held(node: ast.expr) -> bool:
    return getattr(node, "attr", getattr(node, "id", "")) in HELD


RULES: tuple[Rule, ...] = (
    a_check_is_left_out,
    a_question_is_answered_yes,
    everything_is_held,
    a_list_is_not_narrowed,
    an_action_is_a_weaker_one,
    a_refusal_never_happens,
    a_check_is_made_for_nobody,
    an_alternative_does_not_refuse,
    one_of_several_conditions_is_enough,
    a_filter_lets_all_through,
    an_action_counts_as_held,
    a_rule_of_the_gate_is_left_out,
    a_condition_of_the_statement_is_left_out,
    nobody_asks_who_it_is,
    the_read_only_site_allows_changes,
    a_declaration_is_a_weaker_one,
)
