"""What the user wants built: jetsonx.toml as a frozen :class:`Project`, and jetsonx.lock as what a build used."""

from jetsonx.project.model import (
    BuildSection,
    DeploySection,
    HealthCheck,
    ImageSection,
    Project,
    ProjectInfo,
    SysrootSection,
    TargetSection,
)
from jetsonx.project.parse import load_project, parse_project

__all__ = [
    "BuildSection",
    "DeploySection",
    "HealthCheck",
    "ImageSection",
    "Project",
    "ProjectInfo",
    "SysrootSection",
    "TargetSection",
    "load_project",
    "parse_project",
]
