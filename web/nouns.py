"""One noun's routes: they serve undescribed, and are described when the contract is written down (openapi.py)."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask_openapi import APIBlueprint, Tag

View = TypeVar("View", bound=Callable[..., Any])
Route = Callable[..., Callable[[View], View]]


def _remembered(method: Callable[..., Any]) -> Route[Any]:
    def route(noun: "Noun", rule: str, **options: Any) -> Callable[[View], View]:
        def add(view: View) -> View:
            noun.routes.append(lambda blueprint: method(blueprint, rule, **options)(view))
            method(noun, rule, **options)(view)
            return view

        return add

    return route


class Noun(APIBlueprint):
    """A blueprint of flask-openapi that gathers nothing for a description until `described` asks for it."""

    get = _remembered(APIBlueprint.get)
    post = _remembered(APIBlueprint.post)
    put = _remembered(APIBlueprint.put)
    patch = _remembered(APIBlueprint.patch)
    delete = _remembered(APIBlueprint.delete)

    def __init__(self, name: str, description: str, *, url_prefix: str | None = None) -> None:
        super().__init__(name, name, url_prefix=url_prefix, doc_ui=False)
        self.description = description
        self.routes: list[Callable[[APIBlueprint], object]] = []

    def described(self) -> APIBlueprint:
        """Return a blueprint with the same routes and all that is to be said of them."""
        tag = Tag(name=self.name, description=self.description)
        twin = APIBlueprint(self.name, self.import_name, url_prefix=self.url_prefix, abp_tags=[tag])
        for add_to in self.routes:
            add_to(twin)
        return twin
