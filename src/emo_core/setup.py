from setuptools import find_packages, setup

package_name = "emo_core"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"": ["*.npy", "*.npz", "*.json"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package_name]),
        ("share/" + package_name, ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="emo developers",
    maintainer_email="emo@example.org",
    description="The library: audio, lip-sync, face, robot, safety, simulation. Imports no ROS.",
    license="Apache-2.0",
)
