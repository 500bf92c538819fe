"""The verbs of webhooks: who may be told, what became of it, and telling it again."""

from stillmotion.errors import BadRequest, NotFound
from stillmotion.service.changes import Changes
from stillmotion.service.clock import wall_clock
from stillmotion.service.webhook_delivery import OUTBOX
from stillmotion.service.webhook_sender import WebhookSender
from stillmotion.service.webhook_signing import SigningKeys
from stillmotion.store import outbox
from stillmotion.store.driver import Store
from stillmotion.store.outbox import Listed
from stillmotion.store.records import Delivered, Webhook, WebhookStatus


class Webhooks:
    """Methods with a tenant answer NotFound for what belongs to another."""

    def __init__(self, store: Store, changes: Changes, sender: WebhookSender, keys: SigningKeys) -> None:
        self._store, self._changes, self._sender, self._keys = store, changes, sender, keys

    def to(self, url: str, origin: str) -> Webhook:
        """The webhook of a request that is about to be submitted; ``origin``: see ``Webhook``.

        Raises BadRequest for a URL that cannot be used or is not allowed.
        """
        target = self._sender.target(url)
        return Webhook(url=str(target), host=target.host, origin=origin)

    async def listing(self, tenant: str | None, *, after: int | None, most: int) -> list[Listed]:
        """Of a tenant, or with None of all, the newest first, from behind the ``seq`` that was seen last; each with
        what came of its last delivery."""
        return await self._store.read(outbox.listing(tenant, after=after, most=most))

    async def find(self, tenant: str, id: str) -> tuple[WebhookStatus, list[Delivered]]:
        """The webhook of a request with what came of its deliveries, oldest first. Raises NotFound."""
        found = await self._store.read(outbox.get(tenant, id))
        if found is None:
            raise NotFound(f"There is no webhook of a request {id!r}")
        return found

    async def redeliver(self, tenant: str, id: str) -> tuple[WebhookStatus, list[Delivered]]:
        """Tells the receiver again, whatever became of it before, by the whole schedule if need be.

        Raises NotFound, and BadRequest while the request has not ended.
        """
        begun = await self._store.write(outbox.redeliver(tenant, id, now=wall_clock()))
        found = await self.find(tenant, id)
        if not begun:
            raise BadRequest("the request has not ended; its webhook is delivered when it has")
        self._changes.announce(OUTBOX)
        return found

    def public_keys(self) -> list[dict[str, str]]:
        """What receivers verify with, as JSON Web Keys."""
        return self._keys.public()
