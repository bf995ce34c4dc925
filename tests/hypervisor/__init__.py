"""Tests of the drivers. The contract's modules hold no tests by themselves, so pytest is told to read their asserts."""

import pytest

pytest.register_assert_rewrite(
    "tests.hypervisor.contract_agent",
    "tests.hypervisor.contract_base",
    "tests.hypervisor.contract_basics",
    "tests.hypervisor.contract_migration",
    "tests.hypervisor.contract_snapshots",
)
