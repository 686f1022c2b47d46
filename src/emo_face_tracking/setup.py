from setuptools import find_packages, setup

package_name = "emo_face_tracking"

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
    description="A person's face, metric, and gaze in the camera's images.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "face_tracking = emo_face_tracking.face_tracking:main",
        ],
    },
)
