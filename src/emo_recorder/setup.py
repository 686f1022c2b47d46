from setuptools import find_packages, setup

package_name = "emo_recorder"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package_name]),
        ("share/" + package_name, ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="emo developers",
    maintainer_email="emo@example.org",
    description="Everything the graph says, into a rosbag2 recording.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "recorder = emo_recorder.recorder:main",
            "player = emo_recorder.player:main",
        ],
    },
)
