import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.stack.stripe.errors import RefusalError
from tools.stack.stripe.forms import decode


class TestDecode:
    def test_nested_keys_become_objects(self):
        form = decode("amount=5&metadata[order_id]=7&transfer_data[destination]=acct_1")
        assert form == {"amount": "5", "metadata": {"order_id": "7"}, "transfer_data": {"destination": "acct_1"}}

    @pytest.mark.parametrize("text", ["expand[]=a&expand[]=b", "expand[0]=a&expand[1]=b"])
    def test_lists_are_objects_of_positions(self, text):
        assert decode(text) == {"expand": {"0": "a", "1": "b"}}

    def test_escapes_are_undone(self):
        assert decode("metadata%5Bname%5D=%C3%9Fa+b") == {"metadata": {"name": "ßa b"}}

    def test_empty_values_are_kept(self):
        assert decode("description=&metadata[a]=") == {"description": "", "metadata": {"a": ""}}

    @pytest.mark.parametrize("text", ["a=1&a[b]=2", "a[b]=2&a=1", "a[b][c]=1&a[b]=2"])
    def test_a_key_is_not_both_value_and_object(self, text):
        with pytest.raises(RefusalError):
            decode(text)

    def test_bottomless_nesting_is_refused(self):
        with pytest.raises(RefusalError):
            decode("a" + "[b]" * 50 + "=1")

    @given(st.text())
    def test_any_text_is_decoded_or_refused(self, text):
        with contextlib.suppress(RefusalError):
            assert isinstance(decode(text), dict)
