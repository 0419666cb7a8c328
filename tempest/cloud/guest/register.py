"""Projects, users, roles, services and endpoints. Run by configure.sh; may be run again."""

import os

import openstack

HOST = os.environ["CONTROL_IP"]
SERVICES = (
    ("glance", "image", f"http://{HOST}:9292"),
    ("placement", "placement", f"http://{HOST}:8778"),
    ("nova", "compute", f"http://{HOST}:8774/v2.1"),
    ("neutron", "network", f"http://{HOST}:9696"),
    ("cinder", "block-storage", f"http://{HOST}:8776/v3/%(project_id)s"),
    ("cinderv3", "volumev3", f"http://{HOST}:8776/v3/%(project_id)s"),
)


def main():
    cloud = openstack.connect(
        auth_url=f"http://{HOST}:5000/v3",
        username="admin",
        password=os.environ["PASSWORD"],
        project_name="admin",
        user_domain_name="Default",
        project_domain_name="Default",
        region_name=os.environ["REGION"],
    )
    identity = cloud.identity
    roles = {}
    for name in ("admin", "service", "member", "reader"):
        roles[name] = identity.find_role(name) or identity.create_role(name=name)
    projects = {}
    for name in ("service", "demo"):
        projects[name] = identity.find_project(name) or identity.create_project(name=name, domain_id="default")

    def grant(user, project, *names):
        person = identity.find_user(user)
        if person is None:
            person = identity.create_user(name=user, domain_id="default", password=os.environ["PASSWORD"])
        for name in names:
            identity.assign_project_role_to_user(projects[project], person, roles[name])

    # What other services accept from these users hangs on both roles.
    for user in ("glance", "placement", "nova", "neutron", "cinder"):
        grant(user, "service", "admin", "service")
    grant("demo", "demo", "member")

    known = {service.type: service for service in identity.services()}
    for name, kind, url in SERVICES:
        if kind in known:
            continue
        service = identity.create_service(name=name, type=kind)
        for interface in ("public", "internal", "admin"):
            identity.create_endpoint(
                service_id=service.id, interface=interface, url=url, region_id=os.environ["REGION"]
            )


main()
