"""The contract's own asserts tell what they compared, as those of test files do."""

import pytest

pytest.register_assert_rewrite("outlast.testing.contract")
