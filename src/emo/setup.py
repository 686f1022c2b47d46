import os

from setuptools import find_packages, setup

package_name = "emo"


def shared(folder):
    """data_files entries for all files in `folder`, a link to the checkout's of that name."""
    for path, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        kept = [os.path.join(path, name) for name in sorted(files) if not name.endswith(".pyc")]
        if kept:
            yield os.path.join("share", package_name, path), kept


setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"emo": ["data/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package_name]),
        ("share/" + package_name, ["package.xml"]),
        *shared("launch"),
        *shared("config"),
        *shared("models"),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="emo developers",
    maintainer_email="emo@example.org",
    description="Bring-up of emo: launch files, configuration, models and the command line.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "emo = emo.cli:main",
            "composed = emo.composed:main",
        ],
    },
)
