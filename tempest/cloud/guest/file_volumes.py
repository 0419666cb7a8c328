"""Volumes for a cloud on one machine: sparse files that the compute host opens by their path."""

import os
import shutil

from cinder import interface
from cinder.image import image_utils
from cinder.volume import driver
from oslo_utils import units

FOLDER = "/var/lib/cinder/files"


def path_of(thing):
    return os.path.join(FOLDER, thing.name)


def grow(path, gibibytes):
    with open(path, "ab") as file:
        file.truncate(gibibytes * units.Gi)


@interface.volumedriver
class FileVolumes(driver.VolumeDriver):
    """Connection type `local`: no target daemon, no device mapper, no server."""

    VERSION = "1.0"

    def do_setup(self, context):
        os.makedirs(FOLDER, exist_ok=True)

    def check_for_setup_error(self):
        if not os.access(FOLDER, os.W_OK):
            raise RuntimeError(f"{FOLDER} cannot be written")

    def create_volume(self, volume):
        grow(path_of(volume), volume.size)

    def delete_volume(self, volume):
        self._remove(volume)

    def extend_volume(self, volume, new_size):
        grow(path_of(volume), new_size)

    def create_snapshot(self, snapshot):
        shutil.copyfile(path_of(snapshot.volume), path_of(snapshot))

    def delete_snapshot(self, snapshot):
        self._remove(snapshot)

    def create_volume_from_snapshot(self, volume, snapshot):
        self._copy(snapshot, volume)

    def create_cloned_volume(self, volume, src_vref):
        self._copy(src_vref, volume)

    def copy_image_to_volume(self, context, volume, image_service, image_id, disable_sparse=False):
        image_utils.fetch_to_raw(
            context, image_service, image_id, path_of(volume), "1M", size=volume.size, disable_sparse=disable_sparse
        )
        grow(path_of(volume), volume.size)

    def ensure_export(self, context, volume):
        pass

    def create_export(self, context, volume, connector):
        pass

    def remove_export(self, context, volume):
        pass

    def initialize_connection(self, volume, connector):
        place = {"device_path": path_of(volume), "volume_id": volume.id, "access_mode": "rw"}
        return {"driver_volume_type": "local", "data": place}

    def terminate_connection(self, volume, connector, **kwargs):
        pass

    def get_volume_stats(self, refresh=False):
        space = os.statvfs(FOLDER)
        return {
            "volume_backend_name": "files",
            "vendor_name": "file",
            "driver_version": self.VERSION,
            "storage_protocol": "local",
            "total_capacity_gb": space.f_blocks * space.f_frsize // units.Gi,
            "free_capacity_gb": space.f_bavail * space.f_frsize // units.Gi,
            "reserved_percentage": 0,
            "thin_provisioning_support": True,
            "max_over_subscription_ratio": 10,
        }

    @staticmethod
    def _remove(thing):
        try:
            os.unlink(path_of(thing))
        except FileNotFoundError:
            pass

    @staticmethod
    def _copy(source, target):
        shutil.copyfile(path_of(source), path_of(target))
        grow(path_of(target), target.size)
