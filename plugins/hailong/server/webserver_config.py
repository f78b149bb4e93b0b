"""How people sign in on a server: by password, or by OpenID Connect where HAILONG_OIDC_ISSUER names a provider.

Read by Airflow's FAB provider as Flask configuration, in the API server and in the init job.
"""

import json
import os

from flask_appbuilder.const import AUTH_DB, AUTH_OAUTH

WTF_CSRF_ENABLED = True
AUTH_TYPE = AUTH_DB
AUTH_USER_REGISTRATION = False
issuer = os.environ.get("HAILONG_OIDC_ISSUER", "").rstrip("/")

if issuer:
    AUTH_TYPE = AUTH_OAUTH
    # Who comes without one of the groups is let in and sees nothing.
    AUTH_USER_REGISTRATION = True
    AUTH_USER_REGISTRATION_ROLE = "Public"
    AUTH_ROLES_SYNC_AT_LOGIN = True
    # {"group of the provider": "Viewer" | "Engineer" | "Signer"}; the claim `groups` holds the groups,
    # `preferred_username` the name that HAILONG_SIGNERS knows.
    AUTH_ROLES_MAPPING = {
        group: [role] for group, role in json.loads(os.environ.get("HAILONG_OIDC_ROLES") or "{}").items()
    }
    OAUTH_PROVIDERS = [
        {
            "name": "oidc",
            "icon": "fa-key",
            "token_key": "access_token",
            "remote_app": {
                "client_id": os.environ["HAILONG_OIDC_CLIENT_ID"],
                "client_secret": os.environ["HAILONG_OIDC_CLIENT_SECRET"],
                "server_metadata_url": f"{issuer}/.well-known/openid-configuration",
                "client_kwargs": {"scope": os.environ.get("HAILONG_OIDC_SCOPE") or "openid email profile groups"},
            },
        }
    ]
