"""Who may do what in Airflow's pages, on a server: three roles, and signers known by name.

The local stack (`hailong up`) uses Airflow's simple auth manager; there a user's id is the name already.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager
from airflow.providers.fab.auth_manager.models import User
from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride
from airflow.providers.fab.www.security import permissions as of

from hailong.airflow_settings import FILES

SIGNED_DAGS = ("publish__period", "restate__period")
VIEWER, ENGINEER, SIGNER = "Viewer", "Engineer", "Signer"
READ, EDIT, CREATE, DELETE = of.ACTION_CAN_READ, of.ACTION_CAN_EDIT, of.ACTION_CAN_CREATE, of.ACTION_CAN_DELETE
MENU = of.ACTION_CAN_ACCESS_MENU

_LOOK = (*FabAirflowSecurityManagerOverride.VIEWER_PERMISSIONS, (READ, FILES), (MENU, of.RESOURCE_HITL_DETAIL))
# Not Airflow's `Op`: an engineer answers no approval, and writes no XCom, out of which the signature's answer is read.
_RUN = (
    (EDIT, of.RESOURCE_DAG),
    *((action, of.RESOURCE_DAG_RUN) for action in (CREATE, EDIT, DELETE)),
    *((action, of.RESOURCE_TASK_INSTANCE) for action in (CREATE, EDIT)),
    *((action, of.RESOURCE_BACKFILL) for action in (CREATE, EDIT)),
    *((action, of.RESOURCE_CONNECTION) for action in (READ, CREATE, EDIT, DELETE)),
    *((action, of.RESOURCE_POOL) for action in (CREATE, EDIT)),
    *((READ, resource) for resource in (of.RESOURCE_PLUGIN, of.RESOURCE_PROVIDER, of.RESOURCE_AUDIT_LOG)),
    *(
        (MENU, resource)
        for resource in (of.RESOURCE_ADMIN_MENU, of.RESOURCE_CONNECTION, of.RESOURCE_POOL, of.RESOURCE_AUDIT_LOG)
    ),
)
# To answer is to edit the question and, in Airflow's eyes, its DAG: those two DAGs and no other.
_SIGN = ((EDIT, of.RESOURCE_HITL_DETAIL), *((EDIT, f"{of.RESOURCE_DAG_PREFIX}{dag_id}") for dag_id in SIGNED_DAGS))

ROLES: dict[str, tuple[tuple[str, str], ...]] = {
    VIEWER: _LOOK,
    ENGINEER: (*_LOOK, *_RUN),
    SIGNER: (*_LOOK, *_SIGN),
}


class HailongAuthManager(FabAuthManager):
    """Flask-AppBuilder's, which knows users by a number; a question of ours is put to people by their names.

    The numbers differ from server to server and say nothing in `HAILONG_SIGNERS`, in `publish.approval` or on paper.
    """

    def is_authorized_hitl_task(self, *, assigned_users: set[str], user: User) -> bool:
        """True for a user whose name is among those assigned; the right to answer at all has been asked for before."""
        return user.get_name() in assigned_users


def set_roles(security: Any) -> None:
    """Give the three roles exactly these permissions (`security` is Flask-AppBuilder's security manager)."""
    for name, wanted in ROLES.items():
        role = security.add_role(name)
        role.permissions = [security.create_permission(action, resource) for action, resource in dict.fromkeys(wanted)]
        security.session.commit()
