"""What a form offers to choose from is what its user may choose, and names nothing else."""

from __future__ import annotations

from typing import Any

from portal.pages.forms.grants import GrantForm
from portal.pages.forms.hosts import HostForm
from portal.pages.forms.segment_choice import SegmentChoiceForm
from portal.pages.forms.vm_filter import VMFilter
from tests import factories as make
from tests.pages.conftest import Estate


def offered(form: Any, field: str) -> set[str]:
    """The choices of a field, in words, without the empty one."""
    return {str(label) for value, label in form.fields[field].choices if str(value)}


def test_access_is_given_to_whom_one_sees_and_no_more_than_one_holds(estate: Estate) -> None:
    owner, mate, stranger = make.user_with("owner", estate.ledger), make.user("mate"), make.user("stranger")
    make.team("ours", members=[owner, mate])
    make.team("theirs", members=[stranger])
    form = GrantForm(owner, estate.ledger)
    assert offered(form, "team") == {"ours"}
    assert offered(form, "person") == {str(owner), "mate"}
    assert {"Viewer", "Maintainer", "Owner"} <= offered(form, "role")
    assert offered(form, "role") & {"Administrator", "Platform operator", "Auditor"} == set()


def test_a_host_is_enrolled_where_one_operates_hosts(estate: Estate) -> None:
    keeper, other = make.user_with("placement", estate.cluster), make.cluster("other")
    make.cluster("hidden")
    make.grant(keeper, make.role_of("operate_host"), other)
    assert offered(HostForm(keeper), "cluster") == {"other"}


def test_a_vm_goes_to_segments_to_which_one_assigns(estate: Estate) -> None:
    owner = make.user_with("owner", estate.ledger)
    make.grant(owner, "viewer", make.segment("Seen"))
    assert offered(SegmentChoiceForm(owner), "segment") == {"Ledger"}


def test_vms_are_filtered_by_what_one_sees(estate: Estate) -> None:
    viewer = make.user_with("viewer", estate.ledger)
    make.grant(viewer, "viewer", estate.north)
    form = VMFilter(viewer)
    assert offered(form, "segment") == {"Ledger", "In no segment"}
    assert offered(form, "host") == {"north-1"}
