"""The models that the settings name, in the store."""

from api.settings import PREFIX, SettingsError
from models import packing, store
from models.catalog import describe
from models.errors import ModelError, ModelNotStoredError


def chosen(role: str, model_id: str, allow: frozenset[packing.Waiver]) -> store.StoredModel:
    """role: detector or embedder. allow: what a bento is built in spite of (models.packing).

    Raises SettingsError, which names the setting.
    """
    variable = f"{PREFIX}{role.upper()}"
    try:
        stored = store.find(model_id)
    except ModelNotStoredError as error:
        if "missing" not in allow:
            raise SettingsError(f"{variable}: {error}{packing.without_it(allow)}") from None
        stored = store.expected(describe(model_id))
    except ModelError as error:
        raise SettingsError(f"{variable}: {error}") from None
    if stored.description.role != role:
        raise SettingsError(f"{variable}: {model_id} is no {role}. See: facebento models list")
    return stored
