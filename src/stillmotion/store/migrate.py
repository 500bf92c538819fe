"""Brings a database to the schema of this version, by Alembic."""

from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from stillmotion.errors import ConfigurationError

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(url: str) -> None:
    """Runs the migrations that ``url`` lacks. Raises ConfigurationError when a newer version has written it."""
    config = _config()
    scripts = ScriptDirectory.from_config(config)
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            if current == scripts.get_current_head():
                return
            if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
                raise ConfigurationError(f"the database was written by a newer version (revision {current})")
            # The driver begins a transaction for changes of rows only; a schema half upgraded could not be opened.
            connection.exec_driver_sql("BEGIN")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    finally:
        engine.dispose()


def head() -> str | None:
    """The revision of this version's schema."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
